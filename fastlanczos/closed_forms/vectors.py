"""What a product that is under way asks of the closed forms that it goes through."""

from __future__ import annotations

__all__ = ["Vectors"]


class Vectors:
    """How the vectors go through the graph; one object for all closed forms of an evaluation.

    `several`: the product is one with several vectors, by torch.vmap. A matrix product of which one factor is several
    vectors' becomes a single one, of larger matrices, where that factor stands on the left; for one vector, this order
    would cost transposed copies.

    `pushed`: only what the gradient's own cotangent gets is asked for (a product with the Jacobian), not what the
    inputs get, of which autograd says nothing to its functions.

    `dense`: sparse derivatives are not wanted, since the product is compiled.
    """

    several = False
    pushed = False
    dense = False
