"""The Lanczos iteration as reverse communication: the caller multiplies, the iteration does the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastlanczos import _core
from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import Float64, precision_of
from fastlanczos.arrays.memory import too_large
from fastlanczos.engine.host_run import HostRun
from fastlanczos.engine.kinds import Kind, kind_like, shared_of
from fastlanczos.errors import NonFiniteError
from fastlanczos.gauss.quadrature import spectral_norm
from fastlanczos.krylov.result import LanczosResult
from fastlanczos.krylov.state import STATE_VERSION, checked_state
from fastlanczos.operators.operator import start_vector
from fastlanczos.probes.draw import probe, seed_sequence

__all__ = ["LanczosIteration", "hand_out", "run_natively", "step_into", "step_together", "vectors_together"]


class LanczosIteration:
    """Lanczos without a callback: you pass the product A @ vector, step by step.

    Parameters
    ----------
    dim : int
        Length n of the vectors.
    max_steps : int
        Maximum number of steps m. With a basis, min(m, n) rows of n entries are reserved.
    v0 : array_like, shape (n,), optional
        Start vector; it is normalised here. If it is complex, so are all vectors, for a Hermitian operator. If it is a
        torch tensor, `vector` is a tensor of its dtype. If it is on a GPU, the run happens there.
    seed : int, SeedSequence, Generator or None
        Seed of the random start vector if v0 is not given. The same seed gives the same bits.
    like : array or operator, optional
        An array of the type that `vector` should have (NumPy, torch, CuPy, JAX or Numba; real or complex), if v0 is not
        given. If it is on a GPU, the run happens there: steps are launched on the library's current stream, and only
        what reads numbers (`alpha`, `num_steps`, `result()`) waits for them. Or a `ShardedOperator`, or a curvature
        operator over ranks: `vector` is then this rank's part, for `A.matvec` or `H.local_matvec`.
    reorthogonalize : {"full", "none"}
        "full" keeps the basis and orthogonalizes against all of it. "none" is the three-term recurrence in constant
        memory: the spectral measure of v0 is as accurate, but converged eigenvalues appear several times.
    basis_dtype : {"float64", "float32"}
        Storage of the basis. float32 halves memory and traffic; arithmetic stays in float64, rows are then
        orthogonal to about 1e-8, and T is as accurate as with float64.

    Attributes
    ----------
    vector : array, shape (n,)
        The unit vector whose product the next `step` takes. Its memory is reused: copy it to keep it. A matvec may
        write into it.
    alpha, beta : ndarray, shape (k,), (k - 1,), float64
        The tridiagonal matrix T after k steps.

    Raises
    ------
    TypeError, ValueError
        For sizes, start vectors and names that do not fit, naming what was given and what is wanted.
    MemoryError
        If the basis cannot be allocated; the message says how large it is and what would fit.

    References
    ----------
    The step is described in `csrc/include/fastlanczos/step.hpp`; it delays one correction as in Bielich et al.,
    arXiv 2104.01253.

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> d = np.arange(1.0, 101.0)
    >>> it = fl.LanczosIteration(100, 40, seed=0)
    >>> while it.step(d * it.vector):
    ...     pass
    >>> it
    LanczosIteration(dim=100, step 40 of 40, reorthogonalize='full', finished)
    >>> float(it.result().quadrature()[0].max().round(3))
    100.0
    """

    def __init__(
        self,
        dim: int,
        max_steps: int,
        *,
        v0: Any = None,
        seed: Any = None,
        like: Any = None,
        reorthogonalize: str = "full",
        basis_dtype: str = "float64",
    ) -> None:
        if v0 is not None and seed is not None:
            raise ValueError("give v0 or seed, not both: a seed only draws the start vector")
        kind = kind_like(v0 if like is None else like, "v0" if like is None else "like")
        self._set_up(dim, max_steps, kind, reorthogonalize, basis_dtype)
        self.restart(probe(self.dim, seed_sequence(seed), shared=shared_of(kind)) if v0 is None else v0)

    @classmethod
    def reserved(
        cls, dim: int, max_steps: int, *, like: Any, reorthogonalize: str, basis_dtype: str = "float64"
    ) -> LanczosIteration:
        """Return an iteration whose memory is reserved, and which waits for its start vector."""
        it = cls.__new__(cls)
        it._set_up(dim, max_steps, kind_like(like, "like"), reorthogonalize, basis_dtype)
        return it

    def _set_up(self, dim: int, max_steps: int, kind: Kind, reorthogonalize: str, basis_dtype: str) -> None:
        self.dim = as_dimension(dim, "dim")
        self.max_steps = as_dimension(max_steps, "max_steps")
        if reorthogonalize not in ("full", "none"):
            raise ValueError(f'reorthogonalize must be "full" or "none", got {reorthogonalize!r}')
        if basis_dtype not in ("float64", "float32"):
            raise ValueError(f'basis_dtype must be "float64" or "float32", got {basis_dtype!r}')
        self.reorthogonalize = reorthogonalize
        self.basis_dtype = basis_dtype
        self._reserve(kind)

    def _reserve(self, kind: Kind) -> None:
        self._kind = kind
        self._length = kind.length(self.dim)
        storage = self.basis_dtype if self.reorthogonalize == "full" else None
        try:
            self._run = kind.new_run(self.dim, self.max_steps, storage)
        except Exception as error:
            # torch and JAX have exceptions of their own for a GPU's memory.
            if not isinstance(error, MemoryError) and "out of memory" not in str(error).lower():
                raise
            rows = min(self.max_steps, self.dim)
            # Beside the basis: candidate, vector, two rows in float64, and two that a product takes.
            told = too_large(self.dim, rows, self.basis_dtype, 6, kind.available_memory(), kind.is_complex)
            raise MemoryError(told) from error
        self._precision = precision_of("float64")
        self._products: Any = None

    def reserved_products(self, count: int) -> Any:
        """Return memory for so many products, (count, n) where the run is, which stays reserved with it."""
        if self._products is None or len(self._products) < count:
            self._products = self._kind.empty((count, self._length))
        return self._products[:count]

    def restart(self, v0: Any) -> None:
        """Begin again from another start vector in the same memory.

        The rows of earlier results are overwritten by the steps that follow.
        """
        dtype = "complex128" if self._kind.is_complex else "float64"
        plain = isinstance(v0, np.ndarray) and v0.dtype == dtype and v0.shape == (self._length,)
        # The engine looks at the entries while it scales them; where it refuses, a second look tells why.
        if plain and isinstance(self._run, HostRun) and v0.flags.c_contiguous and self._run.start(v0):
            return
        self._run.start(start_vector(v0, self._length, dtype))

    def restart_with(self, fill: Callable[[Float64], Float64]) -> None:
        """Begin again from what `fill` writes into memory (n,) that it is given, and returns."""
        there = isinstance(self._run, HostRun) and not self._kind.is_complex
        self.restart(fill(self._run.vector if there else np.empty(self._length)))

    @property
    def vector(self) -> Any:
        """The unit vector to multiply, shape (n,)."""
        return self._kind.argument(self._run.vector)

    @property
    def num_steps(self) -> int:
        """Finished steps k."""
        return self._run.steps

    @property
    def alpha(self) -> Float64:
        """Diagonal of T, shape (k,)."""
        return self._run.alpha

    @property
    def beta(self) -> Float64:
        """Off-diagonal of T, shape (k - 1,)."""
        return self._run.beta

    @property
    def residual_norm(self) -> float:
        """Norm of what A leaves outside the Krylov space after k steps."""
        return self._run.residual_norm

    @property
    def finished(self) -> bool:
        """Whether the run is over: all steps taken, or an invariant subspace found."""
        return self._run.finished

    @property
    def breakdown(self) -> bool:
        """Whether the run ended before `max_steps`, at an invariant subspace."""
        return self._run.breakdown and self.num_steps < self.max_steps

    @property
    def asymmetry(self) -> float:
        """Distance of the products from those of a symmetric operator, relative to its norm."""
        if self.num_steps == 0:
            return 0.0
        norm = spectral_norm(self.alpha, self.beta)
        return self.max_projection / norm if norm > 0 else 0.0

    @property
    def max_projection(self) -> float:
        """Largest inner product so far of a product's remainder with a row: zero, for a symmetric operator."""
        return self._run.max_projection

    @property
    def precision(self) -> float:
        """Rounding unit of the coarsest type met so far: of the products, or of the stored basis."""
        stored = self.basis_dtype if self.reorthogonalize == "full" else "float64"
        return max(self._precision, precision_of(stored))

    def step(self, product: Any) -> bool:
        """Take one step with the product A @ vector; return whether another step follows.

        Parameters
        ----------
        product : array, shape (n,), float64 (complex128) or narrower
            A times `vector`. Narrower floats are widened.

        Returns
        -------
        bool
            False when all steps are done or an invariant subspace was found.

        Raises
        ------
        NonFiniteError
            If the product has NaN or infinite entries. The iteration stays as it was: a corrected product may be
            given.
        TypeError, ValueError
            If the product has another dtype or shape than wanted, or the run is finished.
        """
        if self.finished:
            raise ValueError(
                f"the run is finished after {self.num_steps} of {self.max_steps} steps and takes no further product"
            )
        z = self._run.product(product, f"the product in Lanczos step {self._run.launched + 1}")
        if not self._run.advance(z):
            raise self._not_finite(z)
        self._precision = max(self._precision, precision_of(getattr(product, "dtype", None)))
        return not self.finished

    def result(self) -> LanczosResult:
        """Return the result of the steps so far; the basis is shared with the iteration, not copied."""
        if self.num_steps == 0:
            raise ValueError("no step has been taken yet: there is no result")
        rows = self._run.rows(self.num_steps)
        return LanczosResult(
            alpha=self.alpha,
            beta=self.beta,
            basis=None if rows is None else self._kind.output(rows),
            residual_norm=self.residual_norm,
            num_steps=self.num_steps,
            breakdown=self.breakdown,
            asymmetry=self.asymmetry,
            cuda=self.cuda,
        )

    @property
    def cuda(self) -> dict[str, int] | None:
        """Of a run on a GPU, what its bits depend on: `blocks` and `stages`; None on the CPU."""
        return None if isinstance(self._run, HostRun) else self._run.launch

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state of the run, as numbers, strings and copied NumPy arrays.

        Of a run over ranks rows are DTensors: `torch.distributed.checkpoint.save({"run": it})` saves it, and
        `load({"run": it})` takes it up in a run of the same sizes on any number of ranks.

        Raises RuntimeError after Ctrl-C in the middle of a native step, which cannot be taken up again.
        """
        if self._run.interrupted:
            raise RuntimeError("the run was interrupted in the middle of a step and cannot go on; see result()")
        return {
            "version": STATE_VERSION,
            "dim": self.dim,
            "max_steps": self.max_steps,
            "reorthogonalize": self.reorthogonalize,
            "basis_dtype": self.basis_dtype,
            "like": self._kind.dtype if self._kind.name == "torch" else "numpy",
            "precision": self._precision,
            **self._run.snapshot(),
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any], *, like: Any = None) -> LanczosIteration:
        """Continue a run from its `state_dict`; the following steps have the same bits as without the interruption.

        Parameters
        ----------
        state : dict
            What `state_dict` returned.
        like : array or operator, optional
            An array of the type that `vector` should have, on a GPU or not, or the operator whose vectors are shared
            out over ranks. By default NumPy, or a CPU tensor if it was one.

        Raises
        ------
        ValueError
            If the state is of another format, damaged, or does not fit together; names the entry.
        """
        found = checked_state(state)
        it = cls.__new__(cls)
        it.dim, it.max_steps = found["dim"], found["max_steps"]
        it.reorthogonalize, it.basis_dtype = found["reorthogonalize"], found["basis_dtype"]
        if like is None and found["like"] != "numpy":
            import torch

            like = torch.empty(0, dtype=getattr(torch, found["like"]))
        it._reserve(kind_like(np.empty(0, np.complex128) if like is None and found["is_complex"] else like, "like"))
        it._take_up(found)
        return it

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of a run of the same sizes and storage; raises as `from_state_dict`."""
        found = checked_state(state)
        for name in ("dim", "max_steps", "reorthogonalize", "basis_dtype"):
            here = getattr(self, name)
            if found[name] != here:
                raise ValueError(f"the state is of a run with {name}={found[name]!r}, this one has {here!r}")
        self._take_up(found)

    def _take_up(self, found: dict[str, Any]) -> None:
        if found["is_complex"] != self._kind.is_complex:
            here, there = ("complex" if x else "real" for x in (self._kind.is_complex, found["is_complex"]))
            raise ValueError(f"the state is of a run of {there} vectors, and this one is of {here} ones")
        if ("vectors" in found) != (shared_of(self._kind) is not None):
            raise ValueError(
                "the state is of a run over ranks: pass like=, the operator whose vectors are shared out"
                if "vectors" in found
                else "the state is of a run of one process, and this one is shared out over ranks"
            )
        self._precision = found["precision"]
        self._run.take_up(found)

    def _not_finite(self, z: Any) -> NonFiniteError:
        count, sorts = self._run.count_not_finite(z)
        k = self.num_steps
        kept = f"; the {k} steps before it are in this exception's `partial`" if k else ""
        return NonFiniteError(
            f"the product in Lanczos step {k + 1} has {count} of {self.dim} entries that are not finite{sorts}{kept}",
            step=k + 1,
            count=count,
            partial=self.result() if k else None,
        )

    def __repr__(self) -> str:
        ended = ", breakdown" if self.breakdown else ", finished" if self.finished else ""
        return (
            f"LanczosIteration(dim={self.dim}, step {self.num_steps} of {self.max_steps}, "
            f"reorthogonalize={self.reorthogonalize!r}{ended})"
        )


def hand_out(iterations: Sequence[LanczosIteration], on: bool) -> None:
    """On a GPU, keep copies of the vectors to multiply, which a matvec may write into; without them, a pass less."""
    for it in iterations:
        if not isinstance(it._run, HostRun):
            it._run.hand_out(on)


def vectors_together(iterations: Sequence[LanczosIteration]) -> Any:
    """Return the vectors to multiply as columns, shape (n, p), in memory of their own."""
    return iterations[0]._kind.columns([it._run.vector for it in iterations])


def step_together(iterations: Sequence[LanczosIteration], products: Any) -> None:
    """Take one step of every iteration with its column of `products`, shape (n, p).

    Raises NonFiniteError if a product has NaN or infinite entries; the other iterations have then taken the step.
    """
    runs = [it._run for it in iterations]
    what = f"the block of products in Lanczos step {runs[0].launched + 1}"
    z = runs[0].block(products, what, (iterations[0].dim, len(runs)))
    finite = type(runs[0]).advance_together(runs, z)  # type: ignore[arg-type]
    precision = precision_of(getattr(products, "dtype", None))
    for it in iterations:
        it._precision = max(it._precision, precision)
    _check(iterations, finite, z)


def step_into(
    iterations: Sequence[LanczosIteration], multiply_into: Callable[[list[Any], list[Any]], object], products: Any
) -> None:
    """Take one step of every iteration with a product that is written into its row of `products`, shape (p, n).

    Raises as `step_together`.
    """
    runs = [it._run for it in iterations]
    kind = iterations[0]._kind
    multiply_into([kind.shared(run.vector) for run in runs], [kind.shared(row) for row in products])
    finite = type(runs[0]).advance_together(runs, products)  # type: ignore[arg-type]
    _check(iterations, finite, products)


def run_natively(
    iterations: Sequence[LanczosIteration], matvec: _core.Matvec, products: Float64, max_steps: int, seconds: float
) -> int:
    """Take steps of all iterations without Python until one ends, or so many steps or seconds are over.

    `products` is memory of shape (p, n). Returns the number of steps taken. Raises what a signal handler raises
    (KeyboardInterrupt), and NonFiniteError as `step_together`.
    """
    runs = [it._run for it in iterations if isinstance(it._run, HostRun)]
    steps, outcomes = _core.advance(runs, matvec, products, max_steps, seconds)
    _check(iterations, [outcome != _core.Outcome.not_finite for outcome in outcomes], products)
    return int(steps)


def _check(iterations: Sequence[LanczosIteration], finite: Sequence[bool], products: Any) -> None:
    for it, good, z in zip(iterations, finite, products, strict=True):
        if not good:
            raise it._not_finite(z)
