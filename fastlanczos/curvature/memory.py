"""What a run of Lanczos with a network's curvature needs, in bytes, before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from fastlanczos.arrays.memory import readable_bytes

__all__ = ["Memory"]


@dataclass(frozen=True)
class Memory:
    """Bytes that a run needs, beside the model and the data.

    Parameters
    ----------
    copy : int
        The model's copy, at which products are taken while training goes on.
    graphs : int
        The graphs that are kept for all products.
    product : int
        What a product needs besides, at its peak; measured on a part of the first batch.
    vectors : int
        The vectors of Lanczos, float64.
    basis : int
        The vectors that are kept for reorthogonalization.

    Examples
    --------
    >>> import fastlanczos.torch as flt
    >>> print(flt.Memory(copy=4000, graphs=10**6, product=2 * 10**6, vectors=48000, basis=640000))
    3.52 MiB: copy 3.91 KiB, graphs 977 KiB, product 1.91 MiB, vectors 46.9 KiB, basis 625 KiB
    """

    copy: int
    graphs: int
    product: int
    vectors: int
    basis: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.copy + self.graphs + self.product + self.vectors + self.basis

    def __str__(self) -> str:
        parts = ("copy", "graphs", "product", "vectors", "basis")
        listed = ", ".join(f"{name} {readable_bytes(getattr(self, name))}" for name in parts)
        return f"{readable_bytes(self.total)}: {listed}"
