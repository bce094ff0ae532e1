"""The methods that all curvature operators share: products, gradient, loss, blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from fastlanczos.arguments import as_dimension
from fastlanczos.curvature.differences import Differences
from fastlanczos.curvature.dropout import refuse_dropout
from fastlanczos.curvature.graphs import Graph
from fastlanczos.curvature.memory import Memory
from fastlanczos.curvature.products import Products, needs_parameters, put
from fastlanczos.curvature.replicas import Replicas, unwrapped
from fastlanczos.curvature.schedule import Schedule
from fastlanczos.curvature.weight_decay import decay_of
from fastlanczos.krylov.memory_plan import bytes_per_probe
from fastlanczos.model.function import Evaluation, Forward, ModelFunction
from fastlanczos.model.losses import BatchLoss, Loss
from fastlanczos.model.parameters import ParameterSelection, ParameterSpace
from fastlanczos.model.pieces import Pieces
from fastlanczos.model.sharded import sharding_of
from fastlanczos.model.statistics import BatchNormStatistics
from fastlanczos.operators.operator import as_operator
from fastlanczos.ranks.shared import Shared

__all__ = ["CurvatureOperator"]


class CurvatureOperator(ABC):
    """A symmetric matrix over a model's parameters, the mean over a data set; see `HessianOperator`."""

    _by_module = False  # whether products are made of what is differentiated in gathered parameters alone

    def __init__(
        self,
        model: torch.nn.Module,
        loss_fn: Callable[..., Any] | None,
        data: Any,
        *,
        params: ParameterSelection = None,
        forward: Forward | None = None,
        reduction: str | None = None,
        batch_statistics: str | None = None,
        weight_decay: float | Mapping[str, float] = 0.0,
        dtype: torch.dtype | None = None,
        seed: int | None = None,
        max_memory: int | None = None,
        schedule: Schedule | None = None,
        compile: bool = False,
        normalize: bool = True,
        products: str = "exact",
        check: bool = True,
        progress: bool = False,
        group: Any = None,
    ) -> None:
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        model = unwrapped(model)
        if (
            loss_fn is None
            and forward is None
            and isinstance(data, list)
            and data
            and isinstance(data[0], (tuple, list))
        ):
            raise TypeError(
                "loss_fn must be callable as loss_fn(output, target), got None. None is for models that compute their "
                "own loss, from batches that are dicts or with forward="
            )
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise TypeError(f"dtype must be a floating-point torch.dtype such as torch.float64, got {dtype!r}")
        if schedule is not None and not isinstance(schedule, Schedule):
            raise TypeError(
                f"schedule must be a Schedule (another operator's H.schedule), got {type(schedule).__name__}"
            )
        if products not in ("exact", "finite-difference"):
            raise ValueError(f'products must be "exact" or "finite-difference", got {products!r}')
        self._options: dict[str, Any] = {
            "forward": forward,
            "reduction": reduction,
            "batch_statistics": batch_statistics,
            "weight_decay": weight_decay,
            "dtype": dtype,
            "seed": seed,
            "max_memory": max_memory,
            "compile": compile,
            "normalize": normalize,
            "products": products,
            "check": check,
            "progress": progress,
            "group": group,
        }
        self._arguments = (model, loss_fn, data)
        self._model, self._dtype = model, dtype
        self._space = ParameterSpace(model, params)
        self._decay = decay_of(model, self._space, weight_decay)
        sharding = sharding_of(model, group)
        self._replicas, space = None, self._space
        if group is not None or sharding is not None:
            population = batch_statistics == "population"
            self._replicas = replicas = Replicas(group, self._space.sizes, sharding, of_all_data=population)
            if sharding is not None and self._by_module and products == "exact" and not (population or compile):
                space, schedule = replicas.gather_by_module(model, sharding, self._space, schedule)
        statistics = BatchNormStatistics(batch_statistics)
        function = ModelFunction(model, Loss(loss_fn, reduction), forward, statistics, seed)
        self._products = Products(
            model,
            space,
            function,
            Pieces(data, self.device, dtype, self._space.devices, progress),
            self._graph,
            self._forward_graph,
            dtype=dtype,
            max_memory=None if max_memory is None else as_dimension(max_memory, "max_memory"),
            schedule=schedule,
            compile=compile,
            check=check,
            normalize=normalize,
            differences=self._differences(function) if products == "finite-difference" else None,
            replicas=self._replicas,
        )
        if seed is None:
            refuse_dropout(model)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n), n the number of chosen parameters' entries."""
        return (self._space.dim, self._space.dim)

    @property
    def shared(self) -> Shared | None:
        """How runs share vectors out over the ranks of `group`; None without one."""
        return None if self._replicas is None else self._replicas.shared

    @property
    def local_dim(self) -> int:
        """Entries of this rank's part of a run's vectors: all n without a group."""
        shared = self.shared
        return self.shape[0] if shared is None else shared.local_dims[shared.group.rank]

    def local_matvec(self, part: Any) -> Any:
        """Return this rank's part of A v for its part of v, NumPy's, as runs over ranks need it."""
        replicas = self._replicas
        assert replicas is not None
        v = torch.from_numpy(part if replicas.gathering else replicas.whole(part)).to(self.device)
        product = self._products.empty()
        if replicas.gathering is None:
            self._times([v], [product])
            return replicas.shared.part(product.cpu().numpy())
        with replicas.watched():
            self._products.times([v], [product])
        weight, divisor = self._denominators()
        decay = self._decay
        if isinstance(decay, torch.Tensor):
            decay = torch.from_numpy(replicas.shared.part(decay.cpu().numpy())).to(self.device)
        return (product * (weight / divisor) + decay * v).cpu().numpy()

    @property
    def dtype(self) -> torch.dtype:
        """The precision of a product: that of the parameters (the coarsest, where they differ), or `dtype=`."""
        return self._space.dtype if self._dtype is None else self._dtype

    @property
    def precision(self) -> float:
        """What a product is off by, relative to the norm: rounding, or what differences leave at best."""
        epsilon = float(torch.finfo(self.dtype).eps)
        return epsilon if self._products.differences is None else epsilon ** (2 / 3)

    @property
    def device(self) -> torch.device:
        """Where flat vectors are: the first parameter's device."""
        return self._space.device

    @property
    def normalize(self) -> bool:
        """Whether the matrix belongs to the mean of the loss over all samples; otherwise to the sum."""
        return bool(self._options["normalize"])

    @property
    def data(self) -> Any:
        """The data set, as it was given."""
        return self._arguments[2]

    @property
    def schedule(self) -> Schedule | None:
        """How products are computed; None before the first one."""
        return self._products.schedule

    def __matmul__(self, v: Any) -> Any:
        """Return A v for a flat vector (n,) or a block of columns (n, k): tensors give tensors, arrays give arrays.

        The result has the dtype of `v` (float64 for a float64 vector, whatever the model's precision) and, for a
        tensor, its device. Over ranks v is whole on all of them, or on each its part (local_dim,), as the result then.
        """
        vectors = _tensor(v) if isinstance(v, np.ndarray) else v
        if not isinstance(vectors, torch.Tensor):
            raise TypeError(f"H multiplies a torch tensor or a NumPy array, got {type(v).__name__}")
        if not vectors.dtype.is_floating_point:
            raise TypeError(f"H multiplies real floating-point vectors, got dtype {vectors.dtype}")
        vectors, n = vectors.detach(), self.shape[0]
        if tuple(vectors.shape) == (self.local_dim,) and self.shared is not None and max(self.shared.local_dims) < n:
            part = torch.from_numpy(self.local_matvec(vectors.double().cpu().numpy()))
            part = part.to(device=vectors.device, dtype=vectors.dtype)
            return part if isinstance(v, torch.Tensor) else part.numpy()
        if vectors.ndim not in (1, 2) or vectors.shape[0] != n:
            raise ValueError(f"H has shape {self.shape} and multiplies ({n},) or ({n}, k), got {tuple(vectors.shape)}")
        moved_here = vectors.to(self.device)
        columns = [moved_here] if vectors.ndim == 1 else list(moved_here.T)
        products = torch.empty((len(columns), n), dtype=torch.float64, device=self.device)
        self._times(columns, list(products))
        products = products.to(device=vectors.device, dtype=vectors.dtype)
        product = products[0] if vectors.ndim == 1 else products.T
        return product if isinstance(v, torch.Tensor) else product.numpy()

    @property
    def blocks_pay(self) -> bool:
        """Whether vectors together may cost less than one by one: runs in lockstep need memory for each of them."""
        return self._products.blocks_pay()

    def multiply_into(self, vectors: Sequence[Any], products: Sequence[Any]) -> None:
        """Write A v into `products` for each of `vectors`: float64 arrays or tensors (n,), where the operator is.

        What runs of many products use: memory is reserved once, and nothing is copied between them and the network.
        """
        self._times([_tensor(v) for v in vectors], [_tensor(p) for p in products])

    def matvec(self, v: Any) -> Any:
        """Return A v for a flat vector (n,), as `A @ v`."""
        return self @ v

    def matmat(self, block: Any) -> Any:
        """Return A times a block of columns (n, k), as `A @ block`; with it several probes run at once."""
        return self @ block

    def gradient(self) -> torch.Tensor:
        """Return the gradient of the mean loss (with `normalize=False` of the summed loss), flat (n,), float64.

        One pass over the data.
        """
        total = self._products.empty().zero_()

        def visit(piece: Any) -> BatchLoss:
            if self._products.differences is not None:
                return self._add_gradient(piece, total)
            evaluation = self._products.evaluate(piece)
            needs_parameters(evaluation)
            gradients = torch.autograd.grad(evaluation.loss.total, evaluation.leaves, materialize_grads=True)
            for place, gradient in zip(self._products.split(total), gradients, strict=True):
                put(place, gradient, add=True)
            return evaluation.loss

        with self._products.computing():
            denominator = self._visited(visit)
            flat = self._space.flat()
        if self._replicas is None:
            total /= self._products.divisor(denominator)
        else:
            total = self._replicas.added_up([total], 1.0, self._denominators(denominator)[1])[0]
        return total + self._decay * flat

    def _add_gradient(self, piece: Any, total: torch.Tensor) -> BatchLoss:
        """Add a piece's gradient by first derivatives alone."""
        snapshot = self._products.snapshot
        assert snapshot is not None
        leaves = [leaf.detach().clone().requires_grad_() for leaf in snapshot.leaves]
        loss = self._products.function.differentiate(snapshot, piece, leaves)
        for place, leaf in zip(self._space.split(total), leaves, strict=True):
            if leaf.grad is not None:
                put(place, leaf.grad, add=True)
        return loss

    def loss(self) -> float:
        """Return the mean loss over all samples (with `normalize=False` the sum), and what weight_decay adds.

        One pass over the data.
        """
        total = 0.0

        def visit(piece: Any) -> BatchLoss:
            nonlocal total
            with torch.no_grad():
                loss = self._products.evaluate(piece).loss
            total += float(loss.total)
            return loss

        with self._products.computing():
            denominator = self._visited(visit)
            squares = self._space.flat().square()
        if self._replicas is None:
            total /= self._products.divisor(denominator)
        else:
            total = self._replicas.total(total) / self._denominators(denominator)[1]
        return total + 0.5 * float((self._decay * squares).sum())

    def _visited(self, visit: Callable[[Any], BatchLoss]) -> float:
        """Visit each piece of this rank's data; return the denominator of its mean."""
        with nullcontext() if self._replicas is None else self._replicas.watched():
            _, denominator = self._products.visit(visit)
        return denominator

    @property
    def num_samples(self) -> int:
        """Number of samples of the data, of all ranks. Counted by one pass over them if there was none yet."""
        pieces = self._products.pieces
        if pieces.totals is None:
            self.loss()
        assert pieces.totals is not None
        return pieces.totals[0] if self._replicas is None else round(self._replicas.total(pieces.totals[0]))

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return {name: the model's own parameter} of those that the operator acts on, in their order."""
        return self._space.tensors()  # type: ignore[return-value]

    def unflatten(self, v: Any) -> dict[str, torch.Tensor]:
        """Return {name: tensor of the parameter's shape} for a flat vector, such as an eigenvector."""
        return self._space.unflatten(v)

    def block(self, params: ParameterSelection) -> CurvatureOperator:
        """Return the diagonal block of some of the parameters, as an operator: `params` as in the constructor."""
        asked = ParameterSpace(self._model, params).names
        outside = [name for name in asked if name not in self._space.names]
        if outside:
            raise ValueError(f"{outside} are not among the operator's parameters")
        model, loss_fn, data = self._arguments
        return type(self)(model, loss_fn, data, params=asked, **self._options)

    def blocks(self) -> dict[str, CurvatureOperator]:
        """Return {layer: the diagonal block of its parameters}."""
        return {layer: self.block(names) for layer, names in self._space.layers().items()}

    def on(self, data: Any) -> CurvatureOperator:
        """Return the curvature of the same model and loss over other data, such as a part of these."""
        return type(self)(*self._arguments[:2], data, params=list(self._space.names), **self._options)

    def memory(self, num_steps: int = 90, *, reorthogonalize: str = "full", basis_dtype: str = "float64") -> Memory:
        """Return what a run of Lanczos over this operator needs, in bytes, before anything long runs.

        Parameters
        ----------
        num_steps : int
            Steps of the run, which are rows of its basis.
        reorthogonalize : {"full", "none"}
            "none" keeps no basis.
        basis_dtype : {"float64", "float32"}
            Storage of the basis.

        Returns
        -------
        Memory
            `print` shows it; `total` is the sum. Graphs and products are measured on a part of the first batch.

        Raises
        ------
        TypeError, ValueError
            As from a product.

        Examples
        --------
        >>> import torch, fastlanczos.torch as flt
        >>> model = torch.nn.Linear(3, 2, dtype=torch.float64)
        >>> data = [(torch.randn(8, 3, dtype=torch.float64), torch.randint(2, (8,)))]
        >>> H = flt.HessianOperator(model, torch.nn.functional.cross_entropy, data)
        >>> H.memory(num_steps=8).basis
        512
        """
        if reorthogonalize not in ("full", "none"):
            raise ValueError(f'reorthogonalize must be "full" or "none", got {reorthogonalize!r}')
        if basis_dtype not in ("float64", "float32"):
            raise ValueError(f'basis_dtype must be "float64" or "float32", got {basis_dtype!r}')
        stored = basis_dtype if reorthogonalize == "full" else None
        operator, rows = as_operator(self, shared=True), min(as_dimension(num_steps, "num_steps"), self.shape[0])
        vectors = bytes_per_probe(operator, 0, stored)
        return Memory(*self._products.memory(), vectors, bytes_per_probe(operator, rows, stored) - vectors)

    def reproducible(self) -> None:
        """Make no choice by timing from now on: products then have the same bits in every run on the same machine."""
        self._products.reproducible()

    def release(self) -> None:
        """Free the graphs and copies that are kept for further products; the next product builds them again."""
        self._products.release()

    @abstractmethod
    def _graph(self, piece: Any, evaluation: Evaluation) -> Graph:
        """The graph of a piece's curvature, by differentiation of what was evaluated."""

    @abstractmethod
    def _differences(self, function: ModelFunction) -> Differences:
        """Products of the same matrix without second derivatives."""

    def _forward_graph(self, piece: Any, evaluation: Evaluation) -> Graph:
        """The same without second derivatives in reverse, where there is such a way."""
        raise ValueError(f'the schedule says "forward", which only HessianOperator supports, not {type(self).__name__}')

    def _times(self, vectors: Sequence[torch.Tensor], products: Sequence[torch.Tensor]) -> None:
        """Write A v into the float64 tensor of `products` for each vector."""
        replicas = self._replicas
        if replicas is None:
            self._products.times(vectors, products)
        else:
            mine = [replicas.mine(v) for v in vectors]
            made = products if replicas.gathering is None else [self._products.empty() for _ in products]
            with replicas.watched():
                self._products.times(mine, made)
            for product, whole in zip(products, replicas.added_up(made, *self._denominators()), strict=True):
                product.copy_(whole)
        for v, product in zip(vectors, products, strict=True):
            if isinstance(self._decay, torch.Tensor):
                product.addcmul_(self._decay, v.double())
            elif self._decay != 0:
                product.add_(v, alpha=self._decay)

    def _denominators(self, own: float | None = None) -> tuple[float, float]:
        """Return this rank's denominator of the mean, and that of all ranks; 1 and 1 where sums are asked for."""
        assert self._replicas is not None
        if not self.normalize:
            return 1.0, 1.0
        totals = self._products.pieces.totals
        own = totals[1] if own is None and totals is not None else float(own or 0.0)
        return own, self._replicas.total(own)

    def __repr__(self) -> str:
        totals, schedule = self._products.pieces.totals, self._products.schedule
        samples = "" if totals is None else f", {totals[0]} samples"
        how = "" if schedule is None else f", {schedule}"
        if self._products.differences is not None:
            error = self._products.differences.error
            how = ", finite differences" + ("" if error != error else f" (relative error about {error:.0e})")
        return (
            f"{type(self).__name__}({type(self._model).__name__}, n={self.shape[0]} in {len(self._space.names)} "
            f"parameters{samples}, {self.dtype}, {self.device}{how})"
        )


def _tensor(x: Any) -> torch.Tensor:
    """Return an array as a tensor that shares its memory; a copy where torch takes none like it."""
    if not isinstance(x, np.ndarray):
        return x if isinstance(x, torch.Tensor) else torch.as_tensor(x)
    if not x.flags.writeable or any(stride < 0 for stride in x.strides):
        x = np.array(x, order="K")
    return torch.from_numpy(x)
