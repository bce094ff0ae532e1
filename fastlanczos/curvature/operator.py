"""What all curvature operators share: products, gradients and losses as sums over the pieces of the data."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fastlanczos.arguments import as_dimension
from fastlanczos.curvature.compiled import CompiledGraph, Compiler
from fastlanczos.curvature.graphs import Graph, on_disk
from fastlanczos.curvature.schedule import GraphSize, Schedule, memory_budget, pays_together
from fastlanczos.curvature.schedule_choice import Look, plan
from fastlanczos.errors import AsymmetryWarning
from fastlanczos.model.batches import tensors_in
from fastlanczos.model.function import Evaluation, Forward, ModelFunction, Snapshot
from fastlanczos.model.interception import BatchNormStatistics
from fastlanczos.model.losses import BatchLoss, Loss
from fastlanczos.model.parameters import ParameterSelection, ParameterSpace
from fastlanczos.model.pieces import Pieces

__all__ = ["CurvatureOperator"]

_TRIAL = 4  # vectors of a block that are tried together


class CurvatureOperator(ABC):
    """A symmetric matrix over a model's parameters, the mean over a data set; see `HessianOperator`."""

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
        check: bool = True,
        progress: bool = False,
    ) -> None:
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper has no second derivative
        if (
            loss_fn is None
            and forward is None
            and isinstance(data, list)
            and data
            and isinstance(data[0], (tuple, list))
        ):
            raise TypeError(
                "loss_fn must be callable as loss_fn(output, target), got None: only models that get dicts, or "
                "forward=, can compute their own loss"
            )
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise TypeError(f"dtype must be a floating-point torch.dtype such as torch.float64, got {dtype!r}")
        if schedule is not None and not isinstance(schedule, Schedule):
            raise TypeError(
                f"schedule must be a Schedule (another operator's H.schedule), got {type(schedule).__name__}"
            )
        self._options: dict[str, Any] = {
            "forward": forward,
            "reduction": reduction,
            "batch_statistics": batch_statistics,
            "weight_decay": weight_decay,
            "dtype": dtype,
            "seed": seed,
            "max_memory": max_memory,
            "compile": compile,
            "check": check,
            "progress": progress,
        }
        self._arguments = (model, loss_fn, data)
        self._model, self._data, self._dtype = model, data, dtype
        self._space = ParameterSpace(model, params)
        self._decay = _decay(model, self._space, weight_decay)
        statistics = BatchNormStatistics(batch_statistics)
        self._function = ModelFunction(model, Loss(loss_fn, reduction), forward, statistics, seed)
        self._pieces = Pieces(data, self.device, dtype, self._space.devices, progress)
        self._max_memory = None if max_memory is None else as_dimension(max_memory, "max_memory")
        self._schedule = schedule
        self._given = schedule is not None
        self._reproducible = False
        self._compiler = Compiler() if compile else None
        self._size: GraphSize | None = None  # measured, where the schedule is chosen here
        self.check = check
        self._snapshot: Snapshot | None = None
        self._graphs: list[Graph] | None = None
        self._seen: Any = None
        if seed is None:
            _refuse_dropout(model)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n), n the number of chosen parameters' entries."""
        return (self._space.dim, self._space.dim)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of a product: that of the parameters (the coarsest, where they differ), or `dtype=`."""
        return self._space.dtype if self._dtype is None else self._dtype

    @property
    def device(self) -> torch.device:
        """Where flat vectors are: the first parameter's device."""
        return self._space.device

    @property
    def data(self) -> Any:
        """The data set, as it was given."""
        return self._data

    @property
    def schedule(self) -> Schedule | None:
        """How products are computed; None before the first one."""
        return self._schedule

    def __matmul__(self, v: Any) -> Any:
        """Return A v for a flat vector (n,) or a block of columns (n, k): tensors give tensors, arrays give arrays.

        The result has the dtype of `v` (float64 for a float64 vector, whatever the model's precision) and, for a
        tensor, its device.
        """
        # A copy, since torch takes neither negative strides nor read-only memory.
        vectors = torch.from_numpy(np.array(v, order="K")) if isinstance(v, np.ndarray) else v
        if not isinstance(vectors, torch.Tensor):
            raise TypeError(f"H multiplies a torch tensor or a NumPy array, got {type(v).__name__}")
        if not vectors.dtype.is_floating_point:
            raise TypeError(f"H multiplies real floating-point vectors, got dtype {vectors.dtype}")
        if vectors.ndim not in (1, 2) or vectors.shape[0] != self.shape[0]:
            raise ValueError(
                f"H has shape {self.shape} and multiplies ({self.shape[0]},) or ({self.shape[0]}, k), "
                f"got {tuple(vectors.shape)}"
            )
        vectors = vectors.detach()
        moved_here = vectors.to(self.device)
        rows = moved_here[None] if vectors.ndim == 1 else moved_here.T.contiguous()
        products = self._products(rows).to(device=vectors.device, dtype=vectors.dtype)
        product = products[0] if vectors.ndim == 1 else products.T
        return product if isinstance(v, torch.Tensor) else product.numpy()

    def matvec(self, v: Any) -> Any:
        """Return A v for a flat vector (n,), as `A @ v`."""
        return self @ v

    def matmat(self, block: Any) -> Any:
        """Return A times a block of columns (n, k), as `A @ block`: what lets probes go in lockstep."""
        return self @ block

    def gradient(self) -> torch.Tensor:
        """Return the gradient of the mean loss over all samples, flat (n,), float64; one pass over the data."""
        total = torch.zeros(self.shape[0], dtype=torch.float64, device=self.device)

        def visit(piece: Any) -> BatchLoss:
            evaluation = self._evaluate(piece)
            _needs_parameters(evaluation)
            gradients = torch.autograd.grad(evaluation.loss.total, evaluation.leaves, materialize_grads=True)
            total.add_(self._flat(list(gradients), ()))
            return evaluation.loss

        with self._computing():
            _, denominator = self._pass(visit)
            flat = torch.cat([p.detach().to(self.device).double().flatten() for p in self._space.tensors().values()])
        return total / denominator + self._decay * flat

    def loss(self) -> float:
        """Return the mean loss over all samples, with what weight_decay adds; one pass over the data."""
        total = 0.0

        def visit(piece: Any) -> BatchLoss:
            nonlocal total
            with torch.no_grad():
                loss = self._evaluate(piece).loss
            total += float(loss.total)
            return loss

        with self._computing():
            _, denominator = self._pass(visit)
            squares = torch.cat(
                [p.detach().to(self.device).double().flatten() for p in self._space.tensors().values()]
            ).square()
        return total / denominator + 0.5 * float((self._decay * squares).sum())

    @property
    def num_samples(self) -> int:
        """Samples of the data; counted by a pass over them where none has been made yet."""
        if self._pieces.totals is None:
            self.loss()
        assert self._pieces.totals is not None
        return self._pieces.totals[0]

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
        model, loss_fn, _ = self._arguments
        return type(self)(model, loss_fn, data, params=list(self._space.names), **self._options)

    def reproducible(self) -> None:
        """Decide nothing by the clock from now on: products have the same bits in every run on the same machine."""
        if not self._reproducible and not self._given:
            self._schedule = self._graphs = None
        self._reproducible = True

    def release(self) -> None:
        """Let go of the graphs and copies that are kept for further products; the next one builds them again."""
        self._graphs = self._snapshot = None

    @abstractmethod
    def _graph(self, piece: Any, evaluation: Evaluation) -> Graph:
        """The graph of a piece's curvature, by differentiation of what was evaluated."""

    def _forward_graph(self, piece: Any, evaluation: Evaluation) -> Graph:
        """The same without second derivatives in reverse, where there is such a way."""
        raise ValueError(
            f"{type(self).__name__} goes through second derivatives in reverse, and cannot without them: an operation "
            "of the model has none, or the schedule says forward"
        )

    def _products(self, rows: torch.Tensor) -> torch.Tensor:
        """Return A v for each row v of (k, n), in float64."""
        total: torch.Tensor | None = None

        def add(graph: Graph) -> None:
            nonlocal total
            products = self._through(graph, rows)
            total = products.double() if total is None else total.add_(products)

        def visit(piece: Any) -> BatchLoss:
            evaluation = self._evaluate(piece)
            add(self._built(piece, evaluation))
            return evaluation.loss

        with self._computing():
            schedule = self._schedule or self._planned()
            if self._compiler is not None and schedule.graphs != "kept":
                raise ValueError(
                    f"compile=True needs graphs that are kept, and the schedule is: {schedule}. Raise max_memory, or "
                    "leave compile out"
                )
            if self._graphs is None and schedule.graphs in ("kept", "on disk"):
                self._keep(schedule)
            if self._graphs is None:
                self._pass(visit)
            else:
                for graph in self._pieces.shown(self._graphs):
                    add(graph)
        assert total is not None
        assert self._pieces.totals is not None
        total /= self._pieces.totals[1]
        if isinstance(self._decay, torch.Tensor) or self._decay != 0:
            total += self._decay * rows.double()
        return total

    def _through(self, graph: Graph, rows: torch.Tensor) -> torch.Tensor:
        """Return (curvature of a piece's summed loss) v for each row v."""
        assert self._schedule is not None
        if len(rows) == 1:
            return self._flat(graph.product(self._parts(rows[0]), several=False), ())[None]
        parts = [
            p.contiguous() for p in self._parts(rows)
        ]  # or several vectors' matrix product is not one of larger matrices
        if self._schedule.together is None:
            few = min(len(rows), _TRIAL if rows.numel() < 10**6 else 2)
            pays = pays_together(
                lambda: graph.product([p[0] for p in parts], several=False),
                lambda: graph.product([p[:few] for p in parts], several=True),
                few,
            )
            self._schedule = replace(self._schedule, together=max(len(rows), 10) if pays else 1)
        together = self._schedule.together or 1
        products = []
        for a in range(0, len(rows), together):
            if together == 1:
                products.append(self._flat(graph.product([p[a] for p in parts], several=False), ())[None])
            else:
                some = [p[a : a + together] for p in parts]
                products.append(self._flat(graph.product(some, several=True), some[0].shape[:1]))
        return products[0] if len(products) == 1 else torch.cat(products)

    def _parts(self, flat: torch.Tensor) -> list[torch.Tensor]:
        assert self._snapshot is not None
        leaves = self._snapshot.leaves
        if self._mixed:
            return [p.to(leaf.device, leaf.dtype) for p, leaf in zip(self._space.split(flat), leaves, strict=True)]
        return self._space.split(flat.to(leaves[0].dtype))

    def _flat(self, parts: list[torch.Tensor], leading: tuple[int, ...] | torch.Size) -> torch.Tensor:
        flat = [p.detach().reshape(*leading, -1) for p in parts]
        if self._mixed:
            flat = [f.to(self.device, torch.float64) for f in flat]
        return torch.cat(flat, dim=-1)  # which is added up in float64

    def _computing(self) -> ExitStack:
        """Gradients on, generators and everything else as they were afterwards, the snapshot that of the model now."""
        stack = ExitStack()
        seen = self._pieces.identity()
        if self._snapshot is None or seen != self._seen or not self._snapshot.holds(self._model):
            self._graphs = None
            if not self._given and self._snapshot is not None and not self._snapshot.same_modes(self._model):
                self._schedule = None  # samples that did not depend on one another may do so now
            self._snapshot = Snapshot(self._model, self._space, self._dtype)
            self._snapshot.lay_out(self._schedule is not None and self._schedule.channels_last)
            self._mixed = len({(leaf.device, leaf.dtype) for leaf in self._snapshot.leaves}) > 1
            self._pieces.begin_anew()
            self._seen = seen
            fresh = True
        else:
            fresh = False
        if self._graphs is None:  # kept graphs draw nothing
            stack.enter_context(self._pieces.rewound())
        stack.enter_context(torch.enable_grad())
        if fresh and self._function.statistics.kind == "population":
            self._find_population()
        return stack

    def _find_population(self) -> None:
        snapshot = self._snapshot

        def passes(visit: Callable[[Any], None]) -> None:
            with self._pieces.rewound():
                for batch in self._pieces.batches():
                    visit(batch)

        self._function.statistics.population(
            passes,
            lambda batch, i: self._function.reaches_next_batch_norm(snapshot, batch, i),  # type: ignore[arg-type]
        )

    def _evaluate(self, piece: Any, *, closed: bool = True) -> Evaluation:
        assert self._snapshot is not None
        return self._function.evaluate(self._snapshot, piece, closed=closed)

    def _built(self, piece: Any, evaluation: Evaluation) -> Graph:
        _needs_parameters(evaluation)
        assert self._schedule is not None
        if evaluation.interception.coupled and self._schedule.batch_size is not None:
            raise ValueError(
                f"the schedule puts batches together or cuts them to {self._schedule.batch_size} samples, but batch "
                "norm makes the samples of a batch depend on one another: give a schedule with batch_size=None"
            )
        if self._schedule.graphs == "forward":
            return self._forward_graph(piece, evaluation)
        return self._graph(piece, evaluation)

    def _keep(self, schedule: Schedule) -> None:
        graphs: list[Graph] = []
        known = self._known()

        kept = 0.0

        def visit(piece: Any) -> BatchLoss:
            nonlocal kept
            with on_disk([*known, *tensors_in(piece)]) if schedule.graphs == "on disk" else nullcontext():
                evaluation = self._evaluate(piece)
                graph = self._built(piece, evaluation)
                graphs.append(graph if self._compiler is None else CompiledGraph(graph, self._compiler))
            if self._size is not None and schedule.graphs == "kept":
                kept += self._size.of(evaluation.loss.num_samples)
                if kept > memory_budget(self._max_memory, self.device):
                    raise _MoreThanExpected
            return evaluation.loss

        try:
            self._pass(visit)
        except _MoreThanExpected:  # the number of samples was not known beforehand
            self._schedule = replace(schedule, graphs="rebuilt", graph_bytes=0)
            return
        self._graphs = graphs

    def _known(self) -> list[torch.Tensor]:
        assert self._snapshot is not None
        return [*self._snapshot.parameters.values(), *self._snapshot.buffers.values()]

    def _pass(self, visit: Callable[[Any], BatchLoss]) -> tuple[int, float]:
        return self._pieces.visit(visit, None if self._schedule is None else self._schedule.batch_size)

    def _planned(self) -> Schedule:
        """Choose the schedule by a look at the first batch."""
        first = self._pieces.first()
        if self.check:
            changes = self._pieces.changes()
            if changes:
                warnings.warn(
                    f"{changes}: the matrix belongs to one draw of the data, and products that draw again belong to "
                    "others. Likely causes: a shuffling loader, augmentation. Give fixed samples (a list of batches, "
                    "no random transforms), or check=False if one draw is what you want",
                    AsymmetryWarning,
                    stacklevel=5,
                )
        snapshot = self._snapshot
        assert snapshot is not None

        def build(piece: Any, evaluation: Evaluation) -> Graph:
            _needs_parameters(evaluation)
            return self._graph(piece, evaluation)

        look = Look(
            first,
            self._evaluate,
            build,
            self._known,
            lambda: self._function.draws,
            snapshot.lay_out,
        )
        try:
            self._schedule, self._size = plan(
                look, self._pieces.num_samples_or_none(), self._max_memory, self.device, by_clock=not self._reproducible
            )
        except RuntimeError as error:
            if "is not implemented" not in str(error):  # derivative for aten::... is not implemented
                raise
            self._schedule = Schedule("forward")
        return self._schedule

    def __repr__(self) -> str:
        samples = "" if self._pieces.totals is None else f", {self._pieces.totals[0]} samples"
        how = "" if self._schedule is None else f", {self._schedule}"
        return (
            f"{type(self).__name__}({type(self._model).__name__}, n={self.shape[0]} in {len(self._space.names)} "
            f"parameters{samples}, {self.dtype}, {self.device}{how})"
        )


class _MoreThanExpected(Exception):
    """The graphs of the batches so far need more than the memory there is."""


def _needs_parameters(evaluation: Evaluation) -> None:
    if not evaluation.loss.total.requires_grad:
        raise ValueError("the loss does not depend on the chosen parameters: nothing to differentiate")


def _decay(model: torch.nn.Module, space: ParameterSpace, given: float | Mapping[str, float]) -> Any:
    if not isinstance(given, Mapping):
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not given >= 0:
            raise ValueError(f"weight_decay must be a number of at least 0, or {{name: number}}, got {given!r}")
        return float(given)
    values = dict.fromkeys(space.names, 0.0)
    for pattern, number in given.items():
        for name in ParameterSpace(model, pattern).names:
            if name in values:
                values[name] = float(number)
    return torch.cat([torch.full((space.sizes[name],), values[name], dtype=torch.float64) for name in space.names]).to(
        space.device
    )


def _refuse_dropout(model: torch.nn.Module) -> None:
    active = [
        name or type(module).__name__
        for name, module in model.named_modules()
        if module.training and _dropout_probability(module) > 0
    ]
    if active:
        raise ValueError(
            f"dropout is on ({', '.join(active[:4])}): each product would belong to another matrix. Call model.eval(), "
            "or pass seed= to keep the same masks in every product"
        )


def _dropout_probability(module: torch.nn.Module) -> float:
    # Dropout layers call it p; attention and recurrent layers call it dropout.
    name = "p" if isinstance(module, torch.nn.modules.dropout._DropoutNd) else "dropout"
    value = getattr(module, name, 0.0)
    return float(value) if isinstance(value, (int, float)) else 0.0
