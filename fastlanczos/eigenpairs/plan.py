"""Which search, and in how many rows: told by what a product costs against a sweep over the basis.

Rows are read once in each step. Where a product costs more than sweeping the usual basis, the basis grows: every
restart that this saves is worth products. It grows no further than sweeps cost as much as the products they save.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.operators.cost import rows_of_product

__all__ = ["Plan", "make_plan"]

# Rows of a space that grows, for k pairs: beyond them a restart loses hardly any products.
_MOST_ROWS, _ROWS_PER_PAIR = 300, 15
_ROWS_PER_PRODUCT = 1.5  # times the rows that a product costs: beyond them sweeps cost more than what they save


@dataclass(frozen=True)
class Plan:
    """`rows` that there may be; whether the space `grows` for the fewest products, in `blocks` or by single vectors.

    `cost` is that of a product, in rows.
    """

    rows: int
    grows: bool
    blocks: bool = False
    cost: float = np.inf


def make_plan(
    pencil: Pencil, k: int, ncv: int | None, max_memory: int | None, which: str, preconditioned: bool = False
) -> Plan:
    """Return the plan for k pairs; MemoryError if `max_memory` bytes do not hold as many vectors as are needed."""
    n = pencil.dim
    usual = min(n, max(2 * k + 20 if ncv is None else ncv, k + 3))
    blocks = pencil.is_transformed or pencil.dtype == "complex128"
    cost = np.inf if blocks or ncv is not None else rows_of_product(pencil.operator)
    grows = blocks or (ncv is None and cost > usual)
    itemsize = np.dtype(pencil.dtype).itemsize
    budget = pencil.operator.kind.available_memory() // 2 if max_memory is None else max_memory
    fitting = budget // (itemsize * pencil.operator.kind.longest(n)) - 6
    if max_memory is not None and fitting < min(n, k + 3):
        raise MemoryError(
            f"max_memory = {max_memory} bytes hold {max(fitting, 0)} vectors of {n} entries beside the working ones, "
            f"and {min(n, k + 3)} are needed for k = {k}"
        )
    if preconditioned:  # products are kept beside their vectors
        return Plan(max(min(2 * (_MOST_ROWS if ncv is None else ncv), fitting), 2 * (k + 8)), True)
    if not grows or which == "SM":
        return Plan(min(usual, max(fitting, k + 3), n), False)
    least = 4 * k + 60  # room for what is found, what is set aside, and a chain
    most = max(_MOST_ROWS, _ROWS_PER_PAIR * k) if ncv is None else max(ncv, least)
    most = int(max(min(most, _ROWS_PER_PRODUCT * cost), least))
    rows = min(most, max(fitting, least) if blocks else fitting)
    if rows < min(least, n) and not blocks:
        return Plan(min(usual, max(fitting, k + 3)), False)
    return Plan(min(rows, n + 8), True, blocks, cost)
