"""Products with a model's curvature: sums over the pieces of the data, through graphs that are kept or rebuilt."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import torch

from fastlanczos.curvature.compiled import CompiledGraph, Compiler
from fastlanczos.curvature.differences import Differences
from fastlanczos.curvature.graphs import Graph, on_disk
from fastlanczos.curvature.peak_memory import PeakMemory
from fastlanczos.curvature.replicas import Replicas
from fastlanczos.curvature.schedule import GraphSize, Schedule, memory_budget, pays_together
from fastlanczos.curvature.schedule_choice import MANY, Look, measure, plan
from fastlanczos.errors import AsymmetryWarning
from fastlanczos.model.batches import num_samples, tensors_in
from fastlanczos.model.function import Evaluation, ModelFunction, Snapshot
from fastlanczos.model.losses import BatchLoss
from fastlanczos.model.parameters import ParameterSpace
from fastlanczos.model.pieces import Pieces

__all__ = ["Products", "needs_parameters", "put"]

_TRIAL = 4  # vectors of a block that are tried together

GraphOf = Callable[[Any, Evaluation], Graph]


class Products:
    """The products of one operator, and what it keeps between them: a copy of the model, graphs, the schedule.

    `graph_of(piece, evaluation)` differentiates what was evaluated into the graph of a piece's curvature;
    `forward_graph_of` does so without second derivatives in reverse. Between products the graphs stay valid as long as
    the model equals its copy.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        space: ParameterSpace,
        function: ModelFunction,
        pieces: Pieces,
        graph_of: GraphOf,
        forward_graph_of: GraphOf,
        *,
        dtype: torch.dtype | None,
        max_memory: int | None,
        schedule: Schedule | None,
        compile: bool,
        check: bool,
        normalize: bool,
        differences: Differences | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        self.function = function
        self.pieces = pieces
        self.schedule = schedule
        self.snapshot: Snapshot | None = None
        self.graphs: list[Graph] | None = None
        self._model, self._space, self._dtype = model, space, dtype
        self._graph_of, self._forward_graph_of = graph_of, forward_graph_of
        self._max_memory = max_memory
        self._given = schedule is not None
        self._reproducible = False
        self._compiler = Compiler() if compile else None
        self._size: GraphSize | None = None  # measured, where the schedule is chosen here
        self.differences = differences
        self._replicas = replicas
        self._gathering = None if replicas is None else replicas.gathering
        function.gathering = self._gathering
        self._check = check
        self._normalize = normalize
        self._seen: Any = None
        self._reached: set[int] = set()  # places of the parameters that the loss of some batch depends on
        self._told = False
        self._work: torch.Tensor | None = None  # vectors in the leaves' precision
        self._mixed = False  # parameters on several devices, or of several dtypes

    def reproducible(self) -> None:
        """Decide nothing by the clock from now on."""
        if not self._reproducible and not self._given:
            self.schedule = self.graphs = None
        self._reproducible = True

    def divisor(self, denominator: float) -> float:
        """Return what sums over all samples are divided by: the mean's denominator, or 1 where the sum is asked for."""
        return denominator if self._normalize else 1.0

    def release(self) -> None:
        """Let go of graphs and copies."""
        self.graphs = self.snapshot = self._work = None

    def times(self, vectors: Sequence[torch.Tensor], products: Sequence[torch.Tensor]) -> None:
        """Write A v into the float64 tensor of `products` for each of `vectors`, flat tensors of any precision."""
        started = False

        def add(graph: Graph) -> None:
            nonlocal started
            self._through(graph, vectors, products, add=started)
            started = True

        def visit(piece: Any) -> BatchLoss:
            evaluation = self.evaluate(piece)
            add(self._built(piece, evaluation))
            return evaluation.loss

        with self.computing():
            if self.differences is not None:
                self._by_differences(self.differences, vectors, products)
                if self.differences.relative is not None:  # a vector of zeros asks for no gradient
                    self._tell_of_unreached(self.differences.reached)
                return
            schedule = self.schedule or self._planned()
            if self._compiler is not None and schedule.graphs != "kept":
                raise ValueError(
                    f"compile=True needs graphs that are kept in memory, but the schedule is: {schedule}. Raise "
                    "max_memory, or leave out compile=True"
                )
            if self.graphs is None and schedule.graphs in ("kept", "on disk"):
                self._keep(schedule)
            if self.graphs is None:
                self.visit(visit)
            else:
                for graph in self.pieces.shown(self.graphs):
                    add(graph)
        self._tell_of_unreached(self._reached)
        assert self.pieces.totals is not None
        divisor = self.divisor(self.pieces.totals[1])
        if divisor != 1.0:
            for product in products:
                product.div_(divisor)

    def _tell_of_unreached(self, reached: set[int]) -> None:
        if self._told:
            return
        self._told = True
        names = [name for i, name in enumerate(self._space.names) if i not in reached]
        if names:
            warnings.warn(
                f"{len(names)} of {len(self._space.names)} parameters get no gradient from any batch, so their rows "
                f"and columns are zero: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}. Leave them out by "
                "params= if they are not used; if they are, something cuts the graph off (detach, no_grad, or a "
                "checkpoint with use_reentrant=True whose inputs need no gradient)",
                UserWarning,
                stacklevel=6,
            )

    def _by_differences(
        self, differences: Differences, vectors: Sequence[torch.Tensor], products: Sequence[torch.Tensor]
    ) -> None:
        assert self.snapshot is not None
        for v, product in zip(vectors, products, strict=True):
            differences.times(self.snapshot, self.visit, v, product)
            assert self.pieces.totals is not None
            product.div_(self.divisor(self.pieces.totals[1]))

    def _through(
        self, graph: Graph, vectors: Sequence[torch.Tensor], products: Sequence[torch.Tensor], *, add: bool
    ) -> None:
        """Add (curvature of a piece's summed loss) v to the product of each vector, or write it there."""
        assert self.schedule is not None
        count, few = len(vectors), min(len(vectors), _TRIAL if self._space.dim * len(vectors) < 10**6 else 2)
        if count > 1 and self.schedule.together is None:
            parts = self._parts(vectors[:few])
            pays = pays_together(
                lambda: graph.product([p[0] for p in parts], several=False),
                lambda: graph.product(parts, several=True),
                few,
            )
            self.schedule = replace(self.schedule, together=max(count, 10) if pays else 1)
        together = max(1, min(count, self.schedule.together or 1))
        for first in range(0, count, together):
            some, into = vectors[first : first + together], products[first : first + together]
            parts = self._parts(some)
            found: list[Sequence[torch.Tensor]]
            if len(some) == 1:
                found = [graph.product([p[0] for p in parts], several=False)]
            else:
                found = list(zip(*graph.product(parts, several=True), strict=True))
            for product, pieces in zip(into, found, strict=True):
                for place, piece in zip(self._space.split(product), pieces, strict=True):
                    put(place, piece, add=add)

    def _parts(self, vectors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the vectors as the graphs take them: shaped as the leaves, stacked in front, in reserved memory."""
        assert self.snapshot is not None
        leaves = self.snapshot.leaves
        if self._mixed:
            split = [self._space.split(v) for v in vectors]
            return [torch.stack([p[i].to(leaf.device, leaf.dtype) for p in split]) for i, leaf in enumerate(leaves)]
        dtype, device = leaves[0].dtype, leaves[0].device
        if len(vectors) == 1 and vectors[0].dtype == dtype and vectors[0].is_contiguous():
            return self._space.split(vectors[0][None])
        if self._work is None or len(self._work) < len(vectors) or self._work.dtype != dtype:
            self._work = torch.empty((len(vectors), self._space.dim), dtype=dtype, device=device)
        work = self._work[: len(vectors)]
        for row, v in zip(work, vectors, strict=True):
            row.copy_(v)
        return [part.contiguous() for part in self._space.split(work)] if len(vectors) > 1 else self._space.split(work)

    def computing(self) -> ExitStack:
        """Return a context with gradients on and an up-to-date copy of the model; it restores random generators at its
        end."""
        stack = ExitStack()
        seen = self.pieces.identity()
        stale = self.snapshot is None or seen != self._seen or not self.snapshot.holds(self._model)
        if stale if self._replicas is None or not self._replicas.agree else self._replicas.any(stale):
            self.graphs = None
            if not self._given and self.snapshot is not None and not self.snapshot.same_modes(self._model):
                self.schedule = None  # samples that did not depend on one another may do so now
            self.snapshot = Snapshot(
                self._model, self._space, self._dtype, None if self._replicas is None else self._replicas.piece
            )
            self.snapshot.lay_out(self.schedule is not None and self.schedule.channels_last)
            self._mixed = len({(leaf.device, leaf.dtype) for leaf in self.snapshot.leaves}) > 1
            self.pieces.begin_anew()
            self._seen = seen
            fresh = True
        else:
            fresh = False
        if self.graphs is None:  # kept graphs draw nothing
            stack.enter_context(self.pieces.rewound())
        stack.enter_context(torch.enable_grad())
        if fresh and self.function.statistics.kind == "population":
            self._find_population()
        return stack

    def _find_population(self) -> None:
        snapshot = self.snapshot

        replicas = self._replicas

        def passes(visit: Callable[[Any], None]) -> None:
            try:
                with self.pieces.rewound():
                    for batch in self.pieces.batches():
                        visit(batch)
            except BaseException:
                if replicas is not None:
                    replicas.tell_of_failure()
                raise

        self.function.statistics.population(
            passes,
            lambda batch, moments: self.function.reaches_next_batch_norm(snapshot, batch, moments),  # type: ignore[arg-type]
            *([] if replicas is None else [replicas.merged]),
        )

    def evaluate(self, piece: Any, *, closed: bool = True) -> Evaluation:
        """Return the loss of a piece at the parameters of the copy."""
        assert self.snapshot is not None
        return self.function.evaluate(self.snapshot, piece, closed=closed)

    def _built(self, piece: Any, evaluation: Evaluation) -> Graph:
        needs_parameters(evaluation)
        assert self.schedule is not None
        if evaluation.interception.coupled and self.schedule.batch_size is not None:
            raise ValueError(
                f"the schedule merges batches, or cuts them to {self.schedule.batch_size} samples, but batch norm "
                "couples the samples of a batch: use a schedule with batch_size=None"
            )
        forward = self.schedule.graphs == "forward"
        with nullcontext() if self._gathering is None else self._gathering.saving(self.snapshot.parameters):  # type: ignore[union-attr]
            graph = self._forward_graph_of(piece, evaluation) if forward else self._graph_of(piece, evaluation)
        self._reached |= graph.reached
        return graph

    def _keep(self, schedule: Schedule) -> None:
        graphs: list[Graph] = []
        known = self._known()

        kept = 0.0

        def visit(piece: Any) -> BatchLoss:
            nonlocal kept
            with on_disk([*known, *tensors_in(piece)]) if schedule.graphs == "on disk" else nullcontext():
                evaluation = self.evaluate(piece)
                evaluation.interception.vectors.dense = self._compiler is not None
                graph = self._built(piece, evaluation)
                graphs.append(graph if self._compiler is None else CompiledGraph(graph, self._compiler))
            if self._size is not None and schedule.graphs == "kept":
                kept += self._size.of(evaluation.loss.num_samples)
                if kept > memory_budget(self._max_memory, self._space.device):
                    raise _MoreThanExpected
            return evaluation.loss

        try:
            self.visit(visit)
        except _MoreThanExpected:  # the number of samples was not known beforehand
            self.schedule = replace(schedule, graphs="rebuilt", graph_bytes=0)
            return
        self.graphs = graphs

    def _known(self) -> list[torch.Tensor]:
        assert self.snapshot is not None
        return [*self.snapshot.parameters.values(), *self.snapshot.buffers.values()]

    def visit(self, visit: Callable[[Any], BatchLoss]) -> tuple[int, float]:
        """Visit each piece; return the number of samples and the divisor of the mean, as `Pieces.visit`.

        Where ranks gather parameters together, one without further pieces visits its last one, as nothing, until all
        are done.
        """
        size = None if self.schedule is None else self.schedule.batch_size
        if self._gathering is None or self._replicas is None:
            return self.pieces.visit(visit, size)
        any_goes_on, last = self._replicas.any, None

        def in_step(piece: Any) -> BatchLoss:
            nonlocal last
            any_goes_on(True)
            last = piece
            return visit(piece)

        totals = self.pieces.visit(in_step, size)
        self.function.weight = 0.0
        try:
            while any_goes_on(False):
                visit(last)
        finally:
            self.function.weight = 1.0
        return totals

    def empty(self) -> torch.Tensor:
        """Return memory for a product."""
        return torch.empty(self._space.dim, dtype=torch.float64, device=self._space.device)

    def split(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Return the parts of such a vector, as the leaves are shaped."""
        return self._space.split(flat)

    def _planned(self) -> Schedule:
        """Choose the schedule by a look at the first batch."""
        first = self.pieces.first()
        if self._check:
            changes = self.pieces.changes()
            if changes:
                warnings.warn(
                    f"{changes}, so later products may belong to a different matrix than the first. Likely causes: a "
                    "shuffling loader, augmentation. Pass fixed samples (a list of batches, no random transforms), or "
                    "check=False to accept it",
                    AsymmetryWarning,
                    stacklevel=6,
                )
        try:
            self.schedule, self._size = plan(
                self._look(first),
                self.pieces.num_samples_or_none(),
                self._max_memory,
                self._space.device,
                by_clock=not self._reproducible,
            )
        except RuntimeError as error:
            if "is not implemented" not in str(error):  # derivative for aten::... is not implemented
                raise
            self._require_forward(first, error)
            self.schedule = Schedule("forward")
        return self.schedule

    def _look(self, first: Any) -> Look:
        snapshot = self.snapshot
        assert snapshot is not None

        def build(piece: Any, evaluation: Evaluation) -> Graph:
            needs_parameters(evaluation)
            return self._graph_of(piece, evaluation)

        parameters = sum(leaf.nbytes for leaf in snapshot.leaves)
        return Look(first, parameters, self.evaluate, build, self._known, lambda: self.function.draws, snapshot.lay_out)

    def blocks_pay(self) -> bool:
        """Whether several vectors at once may save something: a graph's building, or reading a small one once.

        Chooses the schedule of a large model; of small ones vectors take little memory, and it may stay open.
        """
        parameters = sum(p.nbytes for p in self._space.tensors().values())
        if parameters <= MANY:
            return True
        if self.differences is not None or self._gathering is not None:
            return False
        with self.computing():
            schedule = self.schedule or self._planned()
        return schedule.graphs != "kept" or schedule.together != 1

    def memory(self) -> tuple[int, int, int]:
        """Return the bytes of the model's copy, of the graphs that are kept, and what a product needs for a moment."""
        with self.computing():
            first = self.pieces.first()
            known = self._known()
            copy = sum(t.nbytes for t in known)
            if self.differences is not None:
                with PeakMemory([*known, *tensors_in(first)]) as memory:
                    self.differences.look(self.snapshot, first)  # type: ignore[arg-type]
                return copy, 0, memory.peak
            schedule = self.schedule or self._planned()
            if schedule.graphs == "forward":
                with PeakMemory([*known, *tensors_in(first)]) as memory:
                    evaluation = self.evaluate(first)
                    graph = self._forward_graph_of(first, evaluation)
                    graph.product([torch.zeros_like(leaf) for leaf in evaluation.leaves], several=False)
                return copy, 0, memory.peak
            size = self._size
            if size is None or size.working is None:
                size = self._size = measure(self._look(first))[0]
            samples = schedule.batch_size or num_samples(first)
            one = int(size.of(samples))
            kept = max(schedule.graph_bytes, one) if schedule.graphs == "kept" else 0
            return copy, kept, int(size.working_of(samples)) + (0 if kept else one)

    def _require_forward(self, piece: Any, error: RuntimeError) -> None:
        """Raise ValueError, naming what has no second derivative, where forward over reverse fails as well."""
        try:
            evaluation = self.evaluate(piece)
            graph = self._forward_graph_of(piece, evaluation)
            graph.product([torch.zeros_like(leaf) for leaf in evaluation.leaves], several=False)
        except (RuntimeError, NotImplementedError, ValueError) as reason:
            found = re.search(r"derivative for '?([\w:]+)'? is not implemented", str(error))
            operation = "an operation of the model" if found is None else found[1]
            raise ValueError(
                f"torch has no second derivative of {operation.removesuffix('_backward')}, which the model or its loss "
                'uses, nor a forward one. Pass products="finite-difference", which needs first derivatives alone'
            ) from reason


def put(place: torch.Tensor, derivative: torch.Tensor, *, add: bool) -> None:
    """Add a parameter's derivative, which may be sparse, to its place of a flat float64 vector, or write it there."""
    if not add and derivative.is_sparse:
        place.zero_()
    if add or derivative.is_sparse:  # summed up in float64, in place: no flat vector in between
        place.add_(derivative.to(place.device))
    else:
        place.copy_(derivative)


class _MoreThanExpected(Exception):
    """The graphs of the batches so far need more than the memory there is."""


def needs_parameters(evaluation: Evaluation) -> None:
    """Raise ValueError if the loss does not depend on the chosen parameters."""
    if not evaluation.loss.total.requires_grad:
        raise ValueError("the loss does not depend on the chosen parameters: nothing to differentiate")
