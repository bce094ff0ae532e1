"""Curvature of PyTorch models as operators: exact products with the Hessian of a loss over a whole data set."""

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("fastlanczos.torch needs PyTorch: pip install 'fastlanczos[torch]'") from None

from fastlanczos.torch.hessian import HessianOperator

__all__ = ["HessianOperator"]
