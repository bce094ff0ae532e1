"""Kernel matrices of three hyperparameters, and functions of them by dense autograd."""

import torch

FUNCTIONS = ["exp", "sqrt", "log", "inv", "inv_sqrt", ("power", 1.5), ("power", 2), None, torch.log1p]


def named(fun):
    """A name that every process gives to a function."""
    return getattr(fun, "__name__", str(fun))


def hyperparameters():
    return [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.3, 1.2, 0.05)]


def kernel(points, length, scale, noise):
    square = ((points[:, None] - points) ** 2).sum(-1)
    return scale * torch.exp(-square / (2 * length**2)) + noise * torch.eye(len(points), dtype=torch.float64)


def dense_function(K, fun):
    values, vectors = torch.linalg.eigh(K)
    calls = {
        "exp": torch.exp,
        "sqrt": torch.sqrt,
        "log": torch.log,
        "inv": torch.reciprocal,
        "inv_sqrt": torch.rsqrt,
        None: lambda x: x,
    }
    f = (lambda x: x ** fun[1]) if isinstance(fun, tuple) else calls.get(fun, fun)
    return (vectors * f(values)) @ vectors.T


def gradients(value, inputs):
    return torch.stack(torch.autograd.grad(value, inputs))
