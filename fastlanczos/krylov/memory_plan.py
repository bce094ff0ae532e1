"""Memory planning: how many probes run at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fastlanczos.arrays.memory import too_large
from fastlanczos.engine.host_run import RECENT_ROWS
from fastlanczos.operators.operator import Operator

__all__ = ["Plan", "bytes_per_probe", "plan_memory"]


@dataclass(frozen=True)
class Plan:
    """How to run: `reorthogonalize` is "full" or "none", `lockstep` the number of probes that run at once.

    `fitting` is the number of runs that fit in memory, not counting what a block product needs, `basis_dtype` how a
    basis is stored."""

    reorthogonalize: str
    lockstep: int
    fitting: int = field(default=1, compare=False)
    basis_dtype: str = "float64"


def plan_memory(
    operator: Operator,
    num_probes: int,
    num_steps: int,
    reorthogonalize: str,
    basis_dtype: str | None,
    max_memory: int | None,
) -> Plan:
    """Return the plan that keeps bases and vectors within `max_memory` bytes (None: half of what is available).

    "auto" is "full" while one probe's basis fits. A `basis_dtype` of None is float64, and with "auto" float32 where
    only that fits. Raises MemoryError if "full" is demanded and does not fit, naming what would.
    """
    available = operator.kind.available_memory()
    budget = available // 2 if max_memory is None else max_memory
    rows = min(num_steps, operator.dim)
    if reorthogonalize != "none":
        stored = [basis_dtype or "float64"]
        if basis_dtype is None and reorthogonalize == "auto":
            stored.append("float32")
        for dtype in stored:
            full = bytes_per_probe(operator, rows, dtype)
            if full <= budget or (reorthogonalize == "full" and max_memory is None and full <= available):
                return Plan("full", _lockstep(operator, num_probes, rows, budget // full), budget // full, dtype)
        if reorthogonalize == "full":
            limit = available if max_memory is None else max_memory
            vectors = bytes_per_probe(operator, 0, stored[0]) // (8 * _columns(operator) * operator.dim)
            raise MemoryError(too_large(operator.dim, rows, stored[0], vectors, limit, operator.kind.is_complex))
    fitting = budget // bytes_per_probe(operator, 0, None)
    return Plan("none", _lockstep(operator, num_probes, 1, fitting), fitting)


def bytes_per_probe(operator: Operator, rows: int, basis_dtype: str | None) -> int:
    """Return the bytes of a run with so many rows of basis."""
    # Basis, candidate, vector, recent rows, and what a product takes: of several at once a block, and its transpose.
    basis = 0 if basis_dtype is None else rows * np.dtype(basis_dtype).itemsize
    product = 1 if operator.native is not None else 3 if operator.matmat is not None else 2
    return (
        _columns(operator)
        * operator.kind.longest(operator.dim)
        * (basis + 8 * (2 + RECENT_ROWS[basis_dtype] + product))
    )


def _columns(operator: Operator) -> int:
    """Real numbers in an entry of a vector."""
    return 2 if operator.kind.is_complex else 1


def _lockstep(operator: Operator, num_probes: int, rows: int, fitting: int) -> int:
    """As many probes as fit, in groups of about one size; one where going together saves nothing."""
    if operator.native is not None:
        # Together the matrix is read once instead of once for each: worth the memory where it is what is read most.
        pays = operator.native.nbytes >= 4 * _columns(operator) * rows * operator.dim
    else:
        # An operator may know that a block costs as much as its vectors one by one: then one basis at a time is enough.
        pays = operator.matmat is not None and getattr(operator.source, "blocks_pay", True)
    if not pays:
        return 1
    groups = -(-num_probes // max(1, fitting))
    return -(-num_probes // groups)
