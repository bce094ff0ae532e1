"""f(A) b by Lanczos."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal
from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import Float64, is_complex, is_tensor, on_device, warn_of_lost_gradient
from fastlanczos.arrays.frameworks import framework_of
from fastlanczos.engine.kinds import shared_of
from fastlanczos.errors import level_of_caller, warn_if_asymmetric
from fastlanczos.gauss.truncation import fewer_steps
from fastlanczos.krylov.drive import drive
from fastlanczos.krylov.iteration import LanczosIteration
from fastlanczos.operators.operator import Operator, as_operator
from fastlanczos.sums.functions import MatrixFunction, as_function
from fastlanczos.sums.products import on_host

__all__ = ["funm_multiply", "lanczos_product"]

_LOOK = 5  # steps between two looks at how much the product still changes, at least, and from 50 steps on ...
_CHEAP = 64  # vectors that a product reads, up to which it is taken twice rather than a basis kept
_SMALL = 512  # dimensions up to which the basis is kept, as all of their steps may be needed
_SHARE = 10  # ... a tenth of those so far: a look takes their number cubed


def funm_multiply(
    A: Any,
    fun: Any,
    b: Any,
    dim: int | None = None,
    *,
    tol: float = 1e-10,
    num_steps: int = 1000,
    reorthogonalize: str = "auto",
    progress: bool = False,
) -> Any:
    """Return f(A) b for a symmetric or Hermitian operator, by Lanczos from b: f(A) b = |b| V' f(T) e_1.

    Parameters
    ----------
    A, dim
        The operator, as in `lanczos`.
    fun : callable, str or ("power", p)
        f, as in `trace`; here it may return complex numbers, such as `lambda x: np.exp(-1j * t * x)` for the evolution
        of a quantum state over a time t.
    b : array, shape (n,) or (n, k)
        A vector, or columns, real or complex; each column has its own run, and where A's dtype says that it is real, so
        has each of the real and imaginary parts.
    tol : float
        Stop when the last tenth of the steps (at least five) changed the result by less than this, relative to its
        norm. For "inv", stop when the residual |b - A x| is below tol |b|.
    num_steps : int
        Maximum number of steps.
    reorthogonalize : {"auto", "full", "none"}
        "full" keeps the basis. "none" keeps three vectors and runs twice: once for T, and once to sum up the result.
        "auto" is "none" for matrices whose products read no more than 64 vectors, for which a product more is less than
        a step's orthogonalization, and otherwise "full" if the basis fits in a quarter of the memory.
    progress : bool
        Show a progress bar.

    Returns
    -------
    array of b's shape
        float64, or complex128 where A, b or f is complex. If b is a tensor, a CPU tensor of its precision.

    Raises
    ------
    ValueError
        If shapes do not fit, or f is not defined on the spectrum.

    Warns
    -----
    UserWarning
        If `num_steps` was reached before `tol`; the message says how far it got.

    References
    ----------
    Druskin and Knizhnerman, "Two polynomial methods of calculating functions of symmetric matrices", USSR Comput. Math.
    Math. Phys. 29 (1989).

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> d = np.linspace(1, 10, 1000)
    >>> x = fl.funm_multiply(np.diag(d), "inv", np.ones(1000))
    >>> bool(np.abs(d * x - 1).max() < 1e-8)
    True

    A state that evolves under a Hamiltonian keeps its norm:

    >>> psi = fl.funm_multiply(np.diag(d), lambda x: np.exp(-10j * x), np.ones(1000))
    >>> psi.dtype, round(float(np.linalg.norm(psi)), 9) == round(1000**0.5, 9)
    (dtype('complex128'), True)
    """
    warn_of_lost_gradient(A, "funm_multiply")
    warn_of_lost_gradient(b, "funm_multiply")
    f = replace(as_function(fun), may_be_complex=True)
    if reorthogonalize not in ("auto", "full", "none"):
        raise ValueError(f'reorthogonalize must be "auto", "full" or "none", got {reorthogonalize!r}')
    if not tol > 0:
        raise ValueError(f"tol must be positive, got {tol!r}")
    num_steps = as_dimension(num_steps, "num_steps")
    columns = on_host(b)
    if columns.ndim not in (1, 2):
        raise ValueError(f"b must have shape (n,) or (n, k), got {columns.shape}")
    like = b if is_tensor(b) or on_device(b) or np.iscomplexobj(columns) else None
    if np.iscomplexobj(columns) and hasattr(A, "dtype") and not is_complex(A):
        like = b.real if is_tensor(b) else None  # real products are half the work of complex ones
    operator = as_operator(
        A, columns.shape[0] if dim is None and callable(A) and not hasattr(A, "shape") else dim, v0=like, shared=True
    )
    length = operator.kind.length(operator.dim)
    if columns.shape[0] != length:
        here = "" if length == operator.dim else f", {length} of them on this rank"
        raise ValueError(f"A has dimension {operator.dim}{here}, and b shape {columns.shape}")
    if not np.isfinite(columns).all():
        raise ValueError("b has entries that are NaN or infinite")
    steps = min(num_steps, operator.dim)
    two_pass = reorthogonalize == "none" or on_device(b)
    if reorthogonalize == "auto" and operator.dim > _SMALL:
        kind = operator.kind
        row = (16 if kind.is_complex else 8) * kind.longest(operator.dim)
        native = operator.native
        two_pass = two_pass or steps * row > kind.available_memory() // 4
        two_pass = two_pass or (native is not None and 0 < native.nbytes <= _CHEAP * row)
    block = columns[:, None] if columns.ndim == 1 else columns
    apart = np.iscomplexobj(block) and not operator.kind.is_complex
    found: list[NDArray[Any]] = []
    worst, asymmetry, precision = 0.0, 0.0, operator.precision
    with tqdm(desc="f(A) b", unit="product", disable=not progress) as bar:
        for column in block.T:
            parts = []
            for part in (column.real, column.imag) if apart else (column,):
                product = lanczos_product(operator, f, part, steps, tol, two_pass, bar)
                parts.append(product.vector)
                worst = max(worst, product.change)
                asymmetry, precision = max(asymmetry, product.asymmetry), max(precision, product.precision)
            found.append(parts[0] + 1j * parts[1] if apart else parts[0])
    if worst > tol:
        warnings.warn(
            f"f(A) b still changed by {worst:.1e} of its norm when num_steps={num_steps} was reached, above "
            f"tol={tol:.1e}",
            UserWarning,
            stacklevel=level_of_caller(),
        )
    warn_if_asymmetric(asymmetry, precision)
    shaped = np.stack(found, axis=1).reshape(columns.shape) if found else np.zeros_like(columns)
    if is_tensor(b):
        import torch

        dtype = b.dtype.to_complex() if np.iscomplexobj(shaped) else b.dtype
        return torch.from_numpy(shaped).to(dtype=dtype, device=b.device)
    return framework_of(b, "b").from_numpy(shaped) if on_device(b) else shaped


class _Product:
    """f(A) b so far: `change` is what the last steps did to it, relative to its norm.

    `changes` (2, n) are those from half of the steps to three quarters, and from there to all; only there where a basis
    is, and zero where the result has settled. `residual` is the norm of b - A x for x = A^-1 b, `nodes` are T's
    eigenvalues and `norm` the largest absolute one.
    """

    def __init__(self, f: MatrixFunction, norm: float, dim: int, tol: float, length: int) -> None:
        self._f, self._norm, self._dim, self._tol = f, norm, dim, tol
        self.coefficients: NDArray[Any] = np.zeros(0)
        self.change = float("inf")
        self.vector: NDArray[Any] = np.zeros(length)
        self.changes: NDArray[Any] = np.zeros((2, length))
        self.nodes: Float64 = np.zeros(1)
        self.residual = 0.0
        self.asymmetry, self.precision = 0.0, 0.0

    def look(self, run: LanczosIteration) -> bool:
        """Evaluate |b| f(T) e_1; return whether it has settled."""
        alpha, beta = run.alpha, run.beta
        theta, now = self._coefficients(alpha, beta)
        last = now - np.pad(self.coefficients, (0, len(now) - len(self.coefficients)))
        self.coefficients, self.nodes = now, theta
        size = float(np.linalg.norm(now))
        if run.breakdown or (len(now) == self._dim and run.reorthogonalize == "full"):
            self.change = 0.0
        elif self._f.name == "inv":
            self.residual = run.residual_norm * float(abs(now[-1]))
            self.change = self.residual / self._norm
        else:
            self.change = float(np.linalg.norm(last)) / size if size > 0 else 0.0
        return self.change <= self._tol

    def _coefficients(self, alpha: Float64, beta: Float64) -> tuple[Float64, NDArray[Any]]:
        theta, S = eigh_tridiagonal(alpha, beta) if len(alpha) > 1 else (alpha.copy(), np.ones((1, 1)))
        return theta, self._norm * _combined(S, self._f.at(theta, np.maximum(S[0] ** 2, 1e-300), self._dim) * S[0])

    @property
    def norm(self) -> float:
        """The largest absolute Ritz value."""
        return float(np.abs(self.nodes).max())

    def earlier(self, run: LanczosIteration, steps: int) -> NDArray[Any]:
        """Return the coefficients after fewer steps, as many as now."""
        _, c = self._coefficients(run.alpha[:steps], run.beta[: steps - 1])
        return np.pad(c, (0, len(self.coefficients) - steps))


def lanczos_product(
    operator: Operator, f: MatrixFunction, b: NDArray[Any], num_steps: int, tol: float, two_pass: bool, bar: Any
) -> _Product:
    """Return f(A) b for one vector; the two-pass way takes each product twice, and a few vectors of memory."""
    shared = shared_of(operator.kind)
    norm = float(np.linalg.norm(b)) if shared is None else shared.total(float(b @ b)) ** 0.5
    product = _Product(f, norm, operator.dim, tol, len(b))
    if norm == 0:
        product.change = 0.0
        return product
    reorthogonalize = "none" if two_pass else "full"
    run = LanczosIteration(operator.dim, num_steps, v0=b, like=operator.kind, reorthogonalize=reorthogonalize)

    next_look = _LOOK

    def settled() -> None:
        nonlocal next_look
        if run.num_steps < next_look or run.finished:
            return
        next_look = run.num_steps + max(_LOOK, run.num_steps // _SHARE)
        if product.look(run):
            raise StopIteration

    drive([run], operator, bar=bar, callback=settled)
    if len(product.coefficients) < run.num_steps:
        product.look(run)
    product.asymmetry, product.precision = run.asymmetry, run.precision
    if not two_pass:
        basis = on_host(run.result().basis)
        product.vector = _combined(basis.T, product.coefficients)
        if product.change > tol:
            half, most = (product.earlier(run, steps) for steps in fewer_steps(run.num_steps))
            last = (most - half, product.coefficients - most)
            product.changes = np.stack([_combined(basis.T, change) for change in last])
        return product
    run.restart(b)
    total = product.coefficients[0] * on_host(run.vector)

    def add() -> None:
        if run.num_steps >= len(product.coefficients):
            raise StopIteration
        np.add(total, product.coefficients[run.num_steps] * on_host(run.vector), out=total)

    if len(product.coefficients) > 1:
        drive([run], operator, bar=bar, callback=add)
    product.vector = total
    return product


def _combined(columns: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Columns (n, m) times weights (m,), without a complex copy of real columns."""
    if np.iscomplexobj(weights) and not np.iscomplexobj(columns):
        return np.asarray(columns @ weights.real + 1j * (columns @ weights.imag))
    return np.asarray(columns @ weights)
