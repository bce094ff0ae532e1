"""Products of an operator with the columns of a NumPy block, wherever the operator's own arrays are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import as_vector, is_tensor, on_device
from fastlanczos.arrays.frameworks import framework_of
from fastlanczos.engine.cuda import to_host
from fastlanczos.engine.kinds import DeviceKind
from fastlanczos.errors import NonFiniteError
from fastlanczos.operators.operator import Operator

__all__ = ["multiply", "on_host"]


def on_host(x: Any) -> NDArray[Any]:
    """Return an array of any kind as NumPy's, in float64 or complex128."""
    if on_device(x):
        x = to_host(x, framework_of(x, "an array"))
    if is_tensor(x):
        x = x.detach().resolve_conj().resolve_neg()
    return np.asarray(x, dtype=np.complex128 if np.iscomplexobj(x) else np.float64)


def multiply(operator: Operator, block: NDArray[Any], bar: Any) -> NDArray[Any]:
    """Return A times the columns of `block` (n, p); raises NonFiniteError if the product has NaN or inf."""
    dtype = "complex128" if operator.kind.is_complex else "float64"
    if operator.native is not None:
        rows = np.ascontiguousarray(block.T, dtype=dtype)
        product = np.empty_like(rows)
        operator.native.multiply(rows, product)
        product = product.T
    else:
        kind = operator.kind
        vectors = [np.array(column, dtype=dtype) for column in block.T]
        uploaded: list[Any] = [kind.upload(v) for v in vectors] if isinstance(kind, DeviceKind) else list(vectors)
        if operator.matmat is not None:
            product = on_host(operator.matmat(kind.columns(uploaded)))
        else:
            assert operator.matvec is not None
            multiplied = [on_host(operator.matvec(kind.argument(v))) for v in uploaded]
            length = kind.length(operator.dim)
            product = np.stack([as_vector(one, "the product", (length,), dtype) for one in multiplied], axis=1)
    bar.update(block.shape[1])
    bad = int(np.count_nonzero(~np.isfinite(product)))
    if bad:
        raise NonFiniteError(
            f"the products have {bad} entries that are NaN or infinite", step=1, count=bad, partial=None
        )
    return product
