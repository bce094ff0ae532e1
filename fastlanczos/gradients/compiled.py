"""tr f(A) as one operator of PyTorch's, for programs that torch.compile makes without a break."""

from __future__ import annotations

from typing import Any

import torch

from fastlanczos.gradients.estimate import DifferentiableEstimate

__all__ = ["trace_inside"]

_TAKEN = ("num_probes", "num_steps", "rtol", "atol", "max_matvecs", "method", "seed")


def trace_inside(A: Any, fun: Any, options: dict[str, Any]) -> DifferentiableEstimate:
    """Return what `trace` does, from within a program that is being compiled.

    The result's `value`, `std_error` and `quadrature_error` are tensors; it has no other attributes. The gradient is
    made along with the value, (n, n). Raises TypeError for what one operator cannot take.
    """
    if not isinstance(A, torch.Tensor) or A.layout != torch.strided:
        raise TypeError("inside torch.compile A is a dense tensor; callables and sparse tensors stay outside")
    name, power = fun if isinstance(fun, tuple) else ("identity" if fun is None else fun, 0.0)
    if not isinstance(name, str):
        raise TypeError("inside torch.compile fun is a name or ('power', p)")
    for key in options:
        if key not in _TAKEN:
            raise TypeError(f"inside torch.compile {key}= is not taken")
    numbers = [float(options[key]) if options.get(key) is not None else -1.0 for key in _TAKEN if key != "method"]
    value, std_error, quadrature_error, _ = torch.ops.fastlanczos.trace(
        A, name, float(power), numbers, options.get("method", "auto"), A.requires_grad and torch.is_grad_enabled()
    )
    return DifferentiableEstimate(value, _Compiled(std_error, quadrature_error), _refuse)  # type: ignore[arg-type]


class _Compiled:
    """The parts of an estimate that a compiled program has."""

    def __init__(self, std_error: torch.Tensor, quadrature_error: torch.Tensor) -> None:
        self.std_error, self.quadrature_error = std_error, quadrature_error


def _refuse(inputs: Any) -> Any:
    raise ValueError("gradient() is not for estimates out of a compiled program: call outside of it")


@torch.library.custom_op("fastlanczos::trace", mutates_args=())
def _trace(
    A: torch.Tensor, name: str, power: float, numbers: list[float], method: str, with_gradient: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    from fastlanczos.gradients.sums import trace

    given: dict[str, Any] = {
        key: x if key in ("rtol", "atol") else int(x)
        for key, x in zip([key for key in _TAKEN if key != "method"], numbers, strict=True)
        if x >= 0.0
    }
    fun = (name, power) if name == "power" else name
    leaf = A.detach().requires_grad_(with_gradient)
    with torch.enable_grad():
        e = trace(leaf, fun, method=method, **given)
        gradient = A.new_empty(0)
        if with_gradient:
            (gradient,) = torch.autograd.grad(e.value, leaf)
    errors = (torch.tensor(float(x), dtype=torch.float64, device=A.device) for x in (e.std_error, e.quadrature_error))
    return e.value.detach().clone(), *errors, gradient


@_trace.register_fake
def _(
    A: torch.Tensor, name: str, power: float, numbers: list[float], method: str, with_gradient: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    numbers_out = [A.new_empty((), dtype=torch.float64) for _ in range(3)]
    return numbers_out[0], numbers_out[1], numbers_out[2], torch.empty_like(A) if with_gradient else A.new_empty(0)


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(output[3])


def _backward(ctx: Any, of_value: Any, of_error: Any, of_quadrature: Any, of_gradient: Any) -> Any:
    (gradient,) = ctx.saved_tensors
    return of_value.to(gradient.dtype) * gradient, None, None, None, None, None


_trace.register_autograd(_backward, setup_context=_save)
