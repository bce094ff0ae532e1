"""f and its derivative, by name, as a power, or of a function on tensors; and divided differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fastlanczos.arrays.cpu import Float64
from fastlanczos.sums.functions import MatrixFunction, as_function

__all__ = ["derivative_of", "divided_differences", "function_of", "slope_of"]

_NAMED: dict[str, tuple[Callable[[Float64], Any], str]] = {
    "identity": (np.ones_like, ""),
    "exp": (np.exp, ""),
    "sign": (np.zeros_like, ""),
    "log": (lambda x: 1.0 / x, "positive"),
    "sqrt": (lambda x: 0.5 / np.sqrt(x), "positive"),
    "inv": (lambda x: -1.0 / x**2, "nonzero"),
    "inv_sqrt": (lambda x: -0.5 * x**-1.5, "positive"),
}


_SLOPES: dict[str, tuple[float, Any]] = {
    "exp": (1.0, "exp"),
    "log": (1.0, "inv"),
    "sqrt": (0.5, "inv_sqrt"),
    "inv": (-1.0, ("power", -2.0)),
    "inv_sqrt": (-0.5, ("power", -1.5)),
}


def function_of(fun: Any) -> MatrixFunction:
    """Return f as `trace` takes it; a function of tensors becomes one of arrays."""
    if not callable(fun) or not _takes_tensors(fun):
        return as_function(fun)

    def call(x: Float64) -> Any:
        with torch.no_grad():
            return fun(torch.from_numpy(np.ascontiguousarray(x))).detach().numpy()

    return MatrixFunction(getattr(fun, "__name__", "fun"), call)


def derivative_of(fun: Any) -> MatrixFunction:
    """Return f', and raise TypeError for a function of arrays, whose derivative cannot be told."""
    if fun is None:
        fun = "identity"
    if isinstance(fun, str) and fun in _NAMED:
        call, needs = _NAMED[fun]
        return MatrixFunction(f"the derivative of {fun}", call, needs)
    if isinstance(fun, tuple):
        as_function(fun)  # raises for anything but a power
        p = fun[1]
        needs = "" if float(p).is_integer() and p >= 1 else "nonzero" if float(p).is_integer() else "positive"
        exponent = float(p) - 1.0
        return MatrixFunction(f"the derivative of power {p}", lambda x: p * x**exponent, needs)
    if not callable(fun):
        as_function(fun)  # raises
    if not _takes_tensors(fun):
        raise TypeError(
            "the gradient needs the derivative of fun: pass a name, ('power', p), or a function of tensors such as "
            f"torch.log1p or lambda x: torch.exp(-x); got {getattr(fun, '__name__', fun)!r}, which does not carry a "
            "tensor's gradient"
        )

    def of_tensors(x: Float64) -> Any:
        with torch.enable_grad():
            at = torch.from_numpy(np.array(x, dtype=np.float64)).requires_grad_()
            return torch.autograd.grad(fun(at).sum(), at)[0].numpy()

    return MatrixFunction(f"the derivative of {getattr(fun, '__name__', 'fun')}", of_tensors)


def slope_of(fun: Any) -> tuple[float, Any]:
    """Return c and g with f' = c g, where g is a function as `trace` takes it, and has a derivative in turn."""
    if isinstance(fun, tuple):
        return float(fun[1]), ("power", float(fun[1]) - 1.0)
    if isinstance(fun, str) and fun in _SLOPES:
        return _SLOPES[fun]
    if fun is None or fun in ("identity", "sign"):
        return 0.0 if fun == "sign" else 1.0, ("power", 0.0)

    def slope(x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            at = x if x.requires_grad else x.detach().requires_grad_()
            found = torch.autograd.grad(fun(at).sum(), at, create_graph=True)[0]
        return found if x.requires_grad else found.detach()

    return 1.0, slope


def _takes_tensors(fun: Callable[..., Any]) -> bool:
    """Whether a function of a tensor that requires a gradient returns one that does.

    Raises ValueError if it depends on other tensors that require one, whose gradient would be lost.
    """
    try:
        with torch.enable_grad():
            alone = fun(torch.ones(2, dtype=torch.float64))
            found = fun(torch.ones(2, dtype=torch.float64, requires_grad=True))
    except Exception:  # NumPy's functions refuse such tensors, each in its way
        return False
    if isinstance(alone, torch.Tensor) and alone.requires_grad:
        raise ValueError("fun depends on tensors that require a gradient, which is carried for A only: detach them")
    return isinstance(found, torch.Tensor) and found.requires_grad


# Nodes and weights for the mean over [0, 1], exact for polynomials of degree 15 and 7.
_FINE, _COARSE = ((0.5 * (x + 1.0), 0.5 * w) for x, w in (np.polynomial.legendre.leggauss(n) for n in (8, 4)))


def divided_differences(f: MatrixFunction, derivative: MatrixFunction, x: Float64, y: Float64) -> Float64:
    """Return (f(x_i) - f(y_j)) / (x_i - y_j), (p, q), and f' where they coincide.

    Where x_i and y_j are close the difference cancels, and the mean of f' between them is taken, by a Gauss rule whose
    error a coarser one tells. Of the two, the one with the smaller error.
    """
    gap = x[:, None] - y[None, :]
    fx, fy = (f.at(z, np.ones_like(z), z.size) for z in (x, y))
    with np.errstate(all="ignore"):
        quotient = (fx[:, None] - fy[None, :]) / gap
        rounding = np.finfo(np.float64).eps * (np.abs(fx)[:, None] + np.abs(fy)[None, :]) / np.abs(gap)
        fine, coarse = (
            sum(w * np.asarray(derivative.call(y[None, :] + t * gap)) for t, w in zip(*rule, strict=True))
            for rule in (_FINE, _COARSE)
        )
        doubt = np.abs(fine - coarse)
    take = (doubt < rounding) | ~np.isfinite(quotient)
    return np.asarray(np.where(take, fine, quotient))
