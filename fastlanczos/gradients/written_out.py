"""Operators as matrices, where that is less work than probes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from fastlanczos.arrays.cpu import Float64
from fastlanczos.gradients.operand import Operand
from fastlanczos.sums.functions import MatrixFunction
from fastlanczos.sums.products import multiply, on_host

__all__ = ["exact_is_the_way", "written_out"]

_PRODUCTS = 20 * 50  # probes times steps of a call that gives neither
# Of n^3 multiplications, of which a dense matrix's product is n^2: a Cholesky factor with the inverse; eigenvectors.
_INVERSE, _EIGENVECTORS = 5 / 6, 6.0


def exact_is_the_way(operand: Operand, f: MatrixFunction, options: dict[str, Any]) -> bool:
    """Whether to factor A: if that is asked for, or is less work than probes where nothing is said of them."""
    method = options.get("method", "auto")
    if method == "exact":
        return True
    given = ("num_probes", "num_steps", "preconditioner", "bounds", "rtol", "atol", "max_matvecs")
    if method != "auto" or f.is_identity or any(options.get(name) is not None for name in given):
        return False
    if operand.is_matrix and operand.source.layout != torch.strided:
        return False
    n = operand.operator.dim
    work = (_INVERSE if f.name in ("log", "inv") else _EIGENVECTORS) * n
    return work <= _PRODUCTS and (operand.is_matrix or n <= _PRODUCTS)


def written_out(operand: Operand) -> Float64:
    """Return A (n, n); what is no tensor is multiplied with the unit vectors."""
    if not operand.is_matrix:
        return np.asarray(multiply(operand.operator, np.eye(operand.operator.dim), tqdm(disable=True)))
    A = operand.source
    return on_host(A.to_dense() if A.layout != torch.strided else A)
