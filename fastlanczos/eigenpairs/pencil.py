"""What eigsh works on: A, or A and M, with the operator to iterate with and the memory to do it in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import Float64, as_vector, dtype_name, is_tensor, precision_of
from fastlanczos.eigenpairs.on_device import DeviceProduct, can_stay
from fastlanczos.eigenpairs.on_host import framework_of_problem, on_host
from fastlanczos.eigenpairs.spectral_transform import complex_of, matvec_of, size_of, transform
from fastlanczos.eigenpairs.start_block import StartBlock
from fastlanczos.engine.array_run import ArrayRun
from fastlanczos.engine.cuda import to_host
from fastlanczos.engine.far_vectors import FarRows, FarVector, GpuArithmetic
from fastlanczos.engine.kinds import DeviceKind, Kind, NumpyKind, SharedKind
from fastlanczos.engine.long_vectors import norm, stacked
from fastlanczos.errors import NonFiniteError
from fastlanczos.operators.entries import asymmetry_of, is_explicit
from fastlanczos.operators.operator import Operator, as_operator, start_vector, without_lists
from fastlanczos.ranks.operator import ShardedOperator

__all__ = ["Pencil"]

_EPSILON = float(np.finfo(np.float64).eps)
_NAMES = ("A", "M", "Minv", "OPinv")


class Pencil:
    """A x = lambda M x, real symmetric or complex Hermitian.

    `operator` is what is iterated with, `multiply_a` and `multiply_m` (None for the identity) are products on vectors
    of `dtype`, `forward` and `values` lead from eigenvalues of the pencil to those of the operator and back.
    `precision` is the rounding unit of the coarsest type seen so far. Operators on a GPU that need no factors are
    iterated with there, unless the search is one `for_numpy`.
    """

    def __init__(
        self,
        A: Any,
        M: Any,
        dim: int | None,
        *,
        sigma: float | None,
        mode: str,
        Minv: Any,
        OPinv: Any,
        v0: Any,
        for_numpy: bool = False,
    ) -> None:
        A, M, Minv, OPinv = (without_lists(X, name) for X, name in zip((A, M, Minv, OPinv), _NAMES, strict=True))
        self._single = dtype_name(getattr(A, "dtype", None)) in ("float32", "complex64")
        is_complex = complex_of(A, M, Minv, OPinv, v0)
        self.dtype = "complex128" if is_complex else "float64"
        self._metric: Callable[[Any], Any] | None = None
        self._takes_blocks = False
        self._on_gpu: DeviceKind | None = None  # where the answer belongs of what is solved on the CPU
        self._arithmetic: GpuArithmetic | None = None  # of what is iterated with on a GPU in blocks
        self._tensors = is_tensor(A)
        self.unit = 1.0  # of the operator's products in blocks, and of its eigenvalues
        self.forward: Callable[[Float64], Float64] = np.asarray
        self.values: Callable[[Float64], Float64] = np.asarray
        if M is None and sigma is None and not is_complex:
            self.operator = as_operator(A, dim, v0=v0, shared=True)
            self.precision = self.operator.precision
        else:
            if any(isinstance(X, ShardedOperator) for X in (A, M, Minv, OPinv)):
                raise TypeError("a ShardedOperator is taken for A x = lambda x alone, without sigma and M")
            given = dict(zip((*_NAMES, "v0"), (A, M, Minv, OPinv, v0), strict=True))
            framework = framework_of_problem(given)
            self._on_gpu = None if framework is None else DeviceKind(framework, "float64")
            like = A if v0 is None else v0
            side = _dimension(A, dim, v0)
            solver = OPinv if sigma is not None else Minv if M is not None else A
            kind: Kind = NumpyKind()
            if framework is not None and not for_numpy and solver is not None and can_stay(A, M, Minv, OPinv):
                self._arithmetic = on = GpuArithmetic(framework, side, 1, self.dtype)
                kind = DeviceKind(framework, "float64")
                A, M, Minv, OPinv = (
                    None if X is None else DeviceProduct(X, name, like, on)
                    for X, name in zip((A, M, Minv, OPinv), _NAMES, strict=True)
                )
            else:
                A, M, Minv, OPinv = (on_host(X, framework, like) for X in (A, M, Minv, OPinv))
            self.precision = precision_of("float32" if self._single else "float64")
            if M is None and sigma is None:
                matvec = matvec_of(A, side, "A")
                self._takes_blocks = is_explicit(A)
            else:
                t = transform(A, M, side, sigma=sigma, mode=mode, Minv=Minv, OPinv=OPinv, dtype=self.dtype)
                matvec, self._metric, self.forward, self.values = t.matvec, t.metric, t.forward, t.values
                self._takes_blocks, sigma = t.takes_blocks, t.sigma
            self.operator = Operator(side, kind, self.precision, matvec=matvec, source=A)
        self.dim = self.operator.dim
        self._A, self._M = A, M
        self._sigma = sigma
        self._has_solver = OPinv is not None or Minv is not None
        self.is_shifted = sigma is not None
        self.is_transformed = self.is_shifted or M is not None
        self.asymmetry = 0.0  # of matrices whose entries can be read, where products are with something else
        if self.is_transformed:
            self.asymmetry = max(asymmetry_of(A), asymmetry_of(M))
            self._sizes = size_of(A, self.multiply_a, self.dim), size_of(M, self.multiply_m, self.dim)
        self.mode = mode

    @property
    def multiply_a(self) -> Callable[[Any], Any]:
        """Products with A, of vectors in NumPy, and of those that are iterated with."""
        if self._M is None and not self.is_shifted and self.dtype == "float64":
            return self._multiply_operator
        return self._checked(matvec_of(self._A, self.dim, "A"), "A")

    @property
    def multiply_m(self) -> Callable[[Any], Any] | None:
        """Products with M, of vectors in NumPy, and of those that are iterated with."""
        return None if self._M is None else self._checked(matvec_of(self._M, self.dim, "M"), "M")

    def _multiply_operator(self, v: NDArray[Any]) -> NDArray[Any]:
        if self.operator.native is not None:
            product = np.empty((1, self.dim))
            self.operator.native.multiply(v[None], product)
            return np.asarray(product[0])
        assert self.operator.matvec is not None
        kind = self.operator.kind
        if isinstance(kind, SharedKind):
            return kind.shares.assembled(kind.shares.group.share(self.operator.matvec(kind.shares.part(v))))
        if isinstance(kind, DeviceKind):
            return np.asarray(to_host(self.operator.matvec(kind.argument(kind.upload(v))), kind.framework))
        product = self.operator.matvec(kind.argument(v))
        self.precision = max(self.precision, precision_of(getattr(product, "dtype", None)))
        return np.asarray(self._vector(product, "a product of A"))

    def _checked(self, multiply: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
        return lambda v: self._vector(multiply(v), f"a product of {name}")

    def _vector(self, x: Any, what: str) -> Any:
        return x if isinstance(x, FarVector) else as_vector(x, what, (self.dim,), self.dtype)

    def residual(self, x: Any, t: float) -> tuple[float, float] | None:
        """Return |A x - lambda M x|, and the size of its terms, for an eigenvalue t of the operator; None at infinity.

        Solves are as exact as the nearest eigenvalue to sigma lets them be, so that pairs which the operator confirms
        need not be the pencil's.
        """
        value = float(self.values(np.array([t]))[0])
        if not np.isfinite(value):
            return None
        mx = x if self.multiply_m is None else self.multiply_m(x)
        size = (self._sizes[0] + abs(value) * self._sizes[1]) * norm(x)
        return norm(self.multiply_a(x) - value * mx), size

    # The iteration in blocks.

    def new_rows(self, count: int) -> Any:
        """Return memory for so many rows."""
        if self._arithmetic is None:
            return np.empty((count, self.dim), self.dtype)
        on = GpuArithmetic(self._arithmetic.framework, self.dim, count, self.dtype)
        return FarRows(on.matrix(count), np.arange(count), on)

    def multiply_rows(self, rows: Any) -> Any:
        """Return the products of the operator with rows (p, n)."""
        matvec = self.operator.matvec
        assert matvec is not None
        if self._takes_blocks and len(rows) > 1:
            block = matvec(np.ascontiguousarray(rows.T))
            products: Any = np.ascontiguousarray(np.asarray(block, dtype=self.dtype).T)
        else:
            products = stacked([self._vector(matvec(v.copy()), "a product") for v in rows])
        return products if self.unit == 1.0 else products / np.full((len(rows), 1), self.unit)

    def in_units_of(self, unit: float) -> None:
        """Divide the operator, as blocks are multiplied with it, by a power of two."""
        forward, values = self.forward, self.values
        self.unit = unit
        self.forward = lambda x: forward(x) / unit
        self.values = lambda t: values(t * unit)

    @property
    def metric_of_rows(self) -> Callable[[Any], Any] | None:
        """Products of rows (p, n) with the matrix of the inner product; None for the identity."""
        metric = self._metric
        if metric is None:
            return None
        if self._takes_blocks:
            return lambda rows: np.asarray(metric(rows.T)).T
        return lambda rows: stacked([self._vector(metric(v.copy()), "a product of M") for v in rows])

    @property
    def largest(self) -> float:
        """The operator's eigenvalue for one of the pencil that is sigma to rounding."""
        assert self._sigma is not None
        size = self._sizes[0] / self._sizes[1] + abs(self._sigma)
        with np.errstate(divide="ignore"):
            return float(np.abs(self.forward(np.array([self._sigma + 64.0 * _EPSILON * max(size, 1e-280)])))[0])

    def quotient(self, x: Any) -> float:
        """Return the operator's eigenvalue for the Rayleigh quotient of x."""
        mx = x if self.multiply_m is None else self.multiply_m(x)
        with np.errstate(divide="ignore"):
            value = float((x.conj() @ self.multiply_a(x)).real) / float((x.conj() @ mx).real)
            return float(np.clip(self.forward(np.array([value])), -1e300, 1e300)[0])

    def not_finite(self, step: int, count: int) -> NonFiniteError:
        """Return the error for a product that has so many entries that are NaN or infinite."""
        what = "A"
        if self.is_transformed:
            what = "the operator with M^-1 or (A - sigma M)^-1"
            if self._has_solver:
                what = "the solver that was given (OPinv or Minv), or of A or M,"
        return NonFiniteError(
            f"product {step} of {what} has {count} of {self.dim} entries that are not finite", step=step, count=count
        )

    # The iteration.

    def new_run(self, rows: int) -> Any:
        """Return a run with room for so many vectors."""
        kind = self.operator.kind
        if isinstance(kind, (DeviceKind, SharedKind)):
            return kind.new_space(self.dim, rows)
        if self._metric is None and self.dtype == "float64":
            return kind.new_run(self.dim, rows, "float64")
        return ArrayRun(
            np.empty((rows, self.dim), self.dtype),
            self._vector,
            metric=None if self._metric is None else self._checked(self._metric, "M"),
            from_numpy=lambda x: np.asarray(x, dtype=self.dtype),
            to_numpy=np.asarray,
        )

    def draw(self, generator: np.random.Generator, *, raw: bool = False) -> Any:
        """Return a random vector, in the range of the operator where that is not the whole space, unless `raw`."""
        v: Any = generator.standard_normal(self.dim)
        if self.dtype == "complex128":
            v = v + 1j * generator.standard_normal(self.dim)
        if self._metric is not None and not raw:
            assert self.operator.matvec is not None
            v = self._vector(self.operator.matvec(v), "a product")
            largest = float(np.abs(v).max())
            v = v / largest if 0.0 < largest < np.inf else v
        return self._for_run(v)

    def start_block(self, v0: Any) -> StartBlock:
        """Return the user's start vectors (n, p)."""
        like = framework_of_problem({"v0": v0})
        block = (
            np.asarray(v0.detach() if hasattr(v0, "detach") and like is None else v0)
            if like is None
            else like.to_numpy(v0)
        )
        if block.shape[0] != self.dim or block.shape[1] < 1:
            raise ValueError(f"v0 must have shape ({self.dim},) or ({self.dim}, p), got {block.shape}")
        if block.dtype.kind not in "fciu" or (block.dtype.kind == "c" and self.dtype == "float64"):
            raise TypeError(f"v0 has dtype {block.dtype}; want {self.dtype}")
        block = block.astype(self.dtype)
        bad = int(np.count_nonzero(~np.isfinite(block)))
        if bad:
            raise ValueError(f"v0 has {bad} entries that are NaN or infinite")
        if not block.any(axis=0).all():
            raise ValueError("a column of v0 is zero: a start vector needs a direction")
        return StartBlock(block, self._for_run)

    def start_vector(self, v0: Any) -> Any:
        """Return the user's start vector as the run takes it."""
        if self.dtype == "complex128":
            v0 = v0 if self._on_gpu is None else self._on_gpu.framework.to_numpy(v0)
            v = as_vector(np.asarray(v0), "v0", (self.dim,), self.dtype)
            if not np.all(np.isfinite(v)) or not v.any():
                raise ValueError("v0 is zero, or has entries that are NaN or infinite")
            return self._for_run(v)
        return self._for_run(start_vector(v0, self.operator.kind.length(self.dim)))

    def _for_run(self, v: Any) -> Any:
        kind = self.operator.kind
        if self._arithmetic is not None:
            return FarVector(self._arithmetic.upload(v), self._arithmetic)
        if isinstance(kind, SharedKind) and len(v) == self.dim:  # of the whole vector this rank's part
            v = kind.shares.part(v)
        return kind.vector(v) if isinstance(kind, (DeviceKind, SharedKind)) else v

    # Results.

    def result(self, values: Float64, vectors: Any, with_vectors: bool) -> Any:
        """Return w, or w and v, as arrays of the kind that A is and in its precision.

        `vectors` are rows, which share their memory with v where their dtype is the one wanted.
        """
        w = values.astype("float32" if self._single else "float64")
        kind = self._on_gpu or self.operator.kind
        give = kind.framework.from_numpy if isinstance(kind, DeviceKind) else kind.output
        if self._tensors and isinstance(kind, NumpyKind) and not isinstance(kind, SharedKind):
            give = sys.modules["torch"].from_numpy
        if not with_vectors:
            return give(w)
        narrow = {"float64": "float32", "complex128": "complex64"}[self.dtype]
        if isinstance(kind, SharedKind):
            mine = vectors.array() if isinstance(vectors, FarRows) else kind.shares.part(vectors)
            return give(w), give(mine).T
        if isinstance(vectors, FarRows):
            assert isinstance(kind, DeviceKind)
            v = vectors.array()
            if self.dtype == "complex128":
                return give(w), kind.framework.cast(v, narrow if self._single else self.dtype).T
            return give(w), (kind.framework.cast(v, narrow) if self._single else kind.argument(v)).T
        v = vectors.astype(narrow) if self._single else vectors
        return give(w), give(v).T


def _dimension(A: Any, dim: int | None, v0: Any) -> int:
    shape = getattr(A, "shape", None)
    if shape is None:
        if dim is None and v0 is None:
            raise ValueError("dim is missing: a callable does not tell the length of its vectors; pass dim=n")
        return as_dimension(len(v0) if dim is None else dim, "dim")
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"A must be square, got shape {tuple(shape)}")
    if dim is not None and as_dimension(dim, "dim") != shape[0]:
        raise ValueError(f"dim is {dim}, but A has shape {tuple(shape)}")
    return as_dimension(int(shape[0]), "the side of A")
