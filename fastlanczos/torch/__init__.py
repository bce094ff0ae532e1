"""Curvature of PyTorch models as operators: Hessian, Gauss-Newton and Fisher over a whole data set."""

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("fastlanczos.torch needs PyTorch: pip install 'fastlanczos[torch]'") from None

from fastlanczos.torch.concentration import GradientConcentration, gradient_concentration
from fastlanczos.torch.fisher import FisherOperator
from fastlanczos.torch.gauss_newton import GGNOperator
from fastlanczos.torch.hessian import HessianOperator
from fastlanczos.torch.schedule import Schedule

__all__ = [
    "FisherOperator",
    "GGNOperator",
    "GradientConcentration",
    "HessianOperator",
    "Schedule",
    "gradient_concentration",
]
