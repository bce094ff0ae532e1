"""Products of an operator with the columns of a NumPy block, wherever the operator's own arrays are."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlanczos.arrays.cpu import Float64, as_float64, on_device
from fastlanczos.arrays.frameworks import framework_of
from fastlanczos.engine.cuda import to_host
from fastlanczos.engine.kinds import DeviceKind
from fastlanczos.errors import NonFiniteError
from fastlanczos.operators.operator import Operator

__all__ = ["multiply", "on_host"]


def on_host(x: Any) -> Float64:
    """Return an array of any kind as NumPy's, in float64."""
    if on_device(x):
        x = to_host(x, framework_of(x, "an array"))
    return np.asarray(x.detach() if hasattr(x, "detach") else x, dtype=np.float64)


def multiply(operator: Operator, block: Float64, bar: Any) -> Float64:
    """Return A times the columns of `block` (n, p); raises NonFiniteError if the product has NaN or inf."""
    if operator.native is not None:
        rows = np.ascontiguousarray(block.T)
        product = np.empty_like(rows)
        operator.native.multiply(rows, product)
        product = product.T
    else:
        kind = operator.kind
        vectors = [np.array(column) for column in block.T]
        uploaded: list[Any] = [kind.upload(v) for v in vectors] if isinstance(kind, DeviceKind) else list(vectors)
        if operator.matmat is not None:
            product = on_host(operator.matmat(kind.columns(uploaded)))
        else:
            assert operator.matvec is not None
            multiplied = [on_host(operator.matvec(kind.argument(v))) for v in uploaded]
            for one in multiplied:
                as_float64(one, "the product", shape=(kind.length(operator.dim),))
            product = np.stack(multiplied, axis=1)
    bar.update(block.shape[1])
    bad = int(np.count_nonzero(~np.isfinite(product)))
    if bad:
        raise NonFiniteError(
            f"the products have {bad} entries that are NaN or infinite", step=1, count=bad, partial=None
        )
    return product
