"""The marginal likelihood of a Gaussian process by `flt`, in the place of GPyTorch's, and its optimum.

pip install 'fastlanczos[torch]'
"""

import argparse
import math

import torch

import fastlanczos.torch as flt


def kernel(X, log):
    """Gaussian kernel with noise; `log` holds the logarithms of length, scale and noise."""
    length, scale, noise = log.exp()
    return scale * torch.exp(-0.5 * (torch.cdist(X, X) / length) ** 2) + noise * torch.eye(len(X), dtype=X.dtype)


def log_likelihood(K, y, noise, **options):
    """As gpytorch.mlls.ExactMarginalLogLikelihood, times n; `options` are flt.logdet's."""
    fit = y @ flt.funm_multiply(K, "inv", y, tol=1e-8, num_steps=4000)
    if options.get("preconditioner") is not None:
        options["diagonal"] = float(noise)
    return -0.5 * (fit + flt.logdet(K, seed=0, **options).value + len(y) * math.log(2 * math.pi))


def optimum(X, y, steps=60, likelihood=log_likelihood, **options):
    """Return the hyperparameters that Adam finds."""
    log = torch.log(torch.tensor([0.5, 1.0, 0.3], dtype=X.dtype)).requires_grad_()
    adam = torch.optim.Adam([log], lr=0.1)
    for _ in range(steps):
        adam.zero_grad()
        loss = -likelihood(kernel(X, log), y, log[2].exp().detach(), **options)
        loss.backward()
        adam.step()
    return log.exp().detach()


def by_cholesky(K, y, noise):
    """The same likelihood, dense."""
    L = torch.linalg.cholesky(K)
    fit = y @ torch.cholesky_solve(y[:, None], L)[:, 0]
    return -0.5 * (fit + 2 * L.diagonal().log().sum() + len(y) * math.log(2 * math.pi))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=1000)
    options = parser.parse_args()
    torch.manual_seed(0)
    X = torch.rand(options.points, 2, dtype=torch.float64)
    y = torch.sin(6 * X[:, 0]) * torch.cos(4 * X[:, 1]) + 0.2 * torch.randn(options.points, dtype=torch.float64)
    print("length, scale, noise")
    found = optimum(X, y, preconditioner="auto", num_probes=20)
    print("flt, preconditioned:", [round(v, 4) for v in found.tolist()])
    print("Cholesky:           ", [round(v, 4) for v in optimum(X, y, likelihood=by_cholesky).tolist()])
