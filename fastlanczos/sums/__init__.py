"""Spectral sums: tr f(A), log det A, diag f(A), f(A) b, and numbers of eigenvalues, with their errors."""

from fastlanczos.sums.count import eigencount
from fastlanczos.sums.diagonal import diagonal
from fastlanczos.sums.estimate import DiagonalEstimate, Estimate
from fastlanczos.sums.multiply import funm_multiply
from fastlanczos.sums.trace import logdet, trace

__all__ = ["DiagonalEstimate", "Estimate", "diagonal", "eigencount", "funm_multiply", "logdet", "trace"]
