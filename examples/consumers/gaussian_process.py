"""The marginal likelihood of a Gaussian process by `flt`, in the place of GPyTorch's, and its optimum.

    python examples/consumers/gaussian_process.py --points 1000 --cholesky
    python examples/consumers/gaussian_process.py --points 20000       # 3.2 GB; a factor alone takes a minute a step

pip install 'fastlanczos[torch]'
"""

import argparse
import math
import time

import torch

import fastlanczos.torch as flt


class Kernel:
    """Gaussian kernel and noise of points (n, d): K + noise I, stored once and without a graph.

    `log` holds the logarithms of length, scale and noise; products have gradients with respect to it.
    """

    def __init__(self, X, log, memory=None):
        self.X, self.log, self.shape, self.dtype = X, log, (len(X), len(X)), X.dtype
        length, scale, self.noise = log.detach().exp()
        self.K = torch.empty(self.shape, dtype=X.dtype) if memory is None else memory
        for i in range(0, len(X), 500):
            block = torch.cdist(X[i : i + 500], X, compute_mode="donot_use_mm_for_euclid_dist")
            torch.exp(block.square_().mul_(-0.5 / length**2), out=self.K[i : i + 500]).mul_(scale)
        self.K.diagonal().add_(self.noise)

    def __matmul__(self, V):
        return _Product.apply(self, self.log, V)

    matmat = __matmul__  # takes blocks (n, p)

    def diagonal(self):
        """Return the diagonal, (n,), with its gradient: the preconditioner takes both."""
        return (self.log[1].exp() + self.log[2].exp()).expand(len(self.X))

    def columns(self, indices):
        """Return columns, (n, p), for the preconditioner."""
        return self.K[:, indices]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kernel, log, V):
        ctx.kernel = kernel
        ctx.save_for_backward(log, V)
        return kernel.K @ V

    @staticmethod
    def backward(ctx, G):
        kernel, (log, V) = ctx.kernel, ctx.saved_tensors
        square, noise = kernel.X.square().sum(1), kernel.noise

        def form(left, right):  # left' K right without the noise
            left, right = (x[:, None] * y if y.ndim == 2 else x * y for x, y in ((left, G), (right, V)))
            return (left * (kernel.K @ right - noise * right)).sum()

        one = torch.ones_like(square)
        by_length = form(square, one) + form(one, square) - 2 * sum(form(x, x) for x in kernel.X.T)
        by_log = (by_length / log[0].exp() ** 2, form(one, one), noise * (G * V).sum())
        return None, torch.stack(by_log), kernel.K @ G if ctx.needs_input_grad[2] else None


def log_likelihood(K, y, **options):
    """As gpytorch.mlls.ExactMarginalLogLikelihood, times n; `options` are flt.logdet's."""
    fit = y @ flt.funm_multiply(K, "inv", y, tol=1e-8, num_steps=4000)
    logdet = flt.logdet(K, preconditioner="auto", diagonal=float(K.noise), seed=0, **options).value
    return -0.5 * (fit + logdet + len(y) * math.log(2 * math.pi))


def by_cholesky(K, y):
    """The same likelihood, dense, through autograd."""
    length, scale, noise = K.log.exp()
    one = torch.eye(len(y), dtype=y.dtype)
    L = torch.linalg.cholesky(scale * torch.exp(-0.5 * (torch.cdist(K.X, K.X) / length) ** 2) + noise * one)
    fit = y @ torch.cholesky_solve(y[:, None], L)[:, 0]
    return -0.5 * (fit + 2 * L.diagonal().log().sum() + len(y) * math.log(2 * math.pi))


def optimum(X, y, steps=60, likelihood=log_likelihood, **options):
    """Return the hyperparameters that Adam finds."""
    log = torch.log(torch.tensor([0.5, 1.0, 0.3], dtype=X.dtype)).requires_grad_()
    adam = torch.optim.Adam([log], lr=0.1)
    memory = torch.empty((len(X), len(X)), dtype=X.dtype)
    for _ in range(steps):
        adam.zero_grad()
        loss = -likelihood(Kernel(X, log, memory), y, **options)
        loss.backward()
        adam.step()
    return log.exp().detach()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--cholesky", action="store_true", help="beside it, by dense factors")
    options = parser.parse_args()
    torch.manual_seed(0)
    X = torch.rand(options.points, 2, dtype=torch.float64)
    y = torch.sin(6 * X[:, 0]) * torch.cos(4 * X[:, 1]) + 0.2 * torch.randn(options.points, dtype=torch.float64)
    print("length, scale, noise")
    began = time.perf_counter()
    found = optimum(X, y, options.steps, num_probes=20)
    seconds = (time.perf_counter() - began) / options.steps
    print(f"flt, preconditioned: {[round(v, 4) for v in found.tolist()]}  ({seconds:.3g} s a step)")
    if options.cholesky:
        began = time.perf_counter()
        found = optimum(X, y, options.steps, by_cholesky)
        seconds = (time.perf_counter() - began) / options.steps
        print(f"Cholesky:            {[round(v, 4) for v in found.tolist()]}  ({seconds:.3g} s a step)")
