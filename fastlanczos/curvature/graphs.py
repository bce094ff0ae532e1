"""The graph of one batch, and products with its curvature through it.

A graph's `product(parts)` takes vectors shaped as the leaves, or several at once stacked in front, and returns the
same of (curvature of the summed loss) v.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from fastlanczos.closed_forms.vectors import Vectors
from fastlanczos.model.function import Evaluation

__all__ = ["ForwardHessianGraph", "Graph", "HessianGraph", "JacobianGraph", "on_disk"]

Parts = Sequence[torch.Tensor]


class Graph(Protocol):
    """What products go through. `reached` are the places of the leaves that the loss depends on."""

    reached: set[int]

    def check(self) -> None:
        """Raise ValueError if an operation has no second derivative."""

    def product(self, parts: Parts, *, several: bool) -> list[torch.Tensor]:
        """Return the curvature times one vector, or with `several` times each of a stack, shaped as the leaves."""


class _Differentiated:
    """Gradients in the leaves as ends of a graph, without their values, which would be a vector more to keep."""

    def __init__(self, of: Sequence[torch.Tensor], leaves: Sequence[torch.Tensor], cotangents: Any = None) -> None:
        gradients = torch.autograd.grad(
            of, leaves, grad_outputs=cotangents, create_graph=True, retain_graph=True, allow_unused=True
        )
        self.reached = {i for i, g in enumerate(gradients) if g is not None}
        # A gradient that does not depend on the parameters has no second derivative.
        self.curved = [i for i, g in enumerate(gradients) if g is not None and g.requires_grad]
        self._ends = [torch.autograd.graph.get_gradient_edge(gradients[i]) for i in self.curved]
        self._dtypes = [gradients[i].dtype for i in self.curved]

    def check(self) -> None:
        _check([end.node for end in self._ends])

    def along(self, parts: Parts, to: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return the derivative of <gradients, parts> in the tensors `to`; parts are those of `curved`."""
        given = [part.to(dtype) for part, dtype in zip(parts, self._dtypes, strict=True)]
        derivatives: tuple[torch.Tensor, ...] = torch.autograd.grad(
            self._ends, to, grad_outputs=given, retain_graph=True, materialize_grads=True
        )
        return derivatives


class HessianGraph:
    """H v by differentiating the gradient's graph: reverse over reverse."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._leaves = evaluation.leaves
        self._vectors = evaluation.interception.vectors
        self._gradient = _Differentiated([evaluation.loss.total], self._leaves)
        self.reached = self._gradient.reached

    def check(self) -> None:
        """Raise ValueError if an operation has no second derivative."""
        self._gradient.check()

    def product(self, parts: Parts, *, several: bool) -> list[torch.Tensor]:
        """Return H v."""
        curved = self._gradient.curved
        if not curved:
            return [torch.zeros_like(part) for part in parts]
        return _each(
            lambda *vector: self._gradient.along(vector, self._leaves),
            [parts[i] for i in curved],
            self._vectors,
            several,
        )


class ForwardHessianGraph:
    """H v by forward over reverse: keeps no graph, and needs no second derivative of what has a forward one."""

    def __init__(self, total: Callable[..., torch.Tensor], leaves: list[torch.Tensor]) -> None:
        self._total, self._leaves = total, leaves
        self.reached = set(range(len(leaves)))  # this way does not tell

    def check(self) -> None:
        """Nothing to check: there is no graph."""

    def product(self, parts: Parts, *, several: bool) -> list[torch.Tensor]:
        """Return H v."""
        gradient = torch.func.grad(self._total, argnums=tuple(range(len(self._leaves))))
        primals = tuple(leaf.detach() for leaf in self._leaves)

        def one(*vector: torch.Tensor) -> tuple[torch.Tensor, ...]:
            result: tuple[torch.Tensor, ...] = torch.func.jvp(gradient, primals, vector)[1]
            return result

        return _each(one, parts, Vectors(), several)


class JacobianGraph:
    """J' B J v with the Jacobian J of the tensors `outputs`, and `inner(u)` = B u between them.

    J v goes back through the graph of u -> J' u, which is linear in u, so that one graph serves both ways and is kept.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        outputs: list[torch.Tensor],
        inner: Callable[[tuple[torch.Tensor, ...]], Sequence[torch.Tensor]],
    ) -> None:
        self._leaves, self._outputs, self._inner = evaluation.leaves, outputs, inner
        self._vectors = evaluation.interception.vectors
        # Zeros that take no memory: only what depends on them is of interest.
        self._dual = [z.new_zeros(()).expand(z.shape).requires_grad_() for z in outputs]
        self._pulled = _Differentiated(outputs, self._leaves, self._dual)
        self.reached = self._pulled.reached

    def check(self) -> None:
        """Raise ValueError if an operation has no second derivative."""
        self._pulled.check()

    def product(self, parts: Parts, *, several: bool) -> list[torch.Tensor]:
        """Return J' B J v."""
        if not self._pulled.curved:
            return [torch.zeros_like(part) for part in parts]

        def one(*vector: torch.Tensor) -> tuple[torch.Tensor, ...]:
            self._vectors.pushed = True
            try:
                pushed = self._pulled.along(vector, self._dual)
            finally:
                self._vectors.pushed = False
            products: tuple[torch.Tensor, ...] = torch.autograd.grad(
                self._outputs,
                self._leaves,
                grad_outputs=tuple(self._inner(pushed)),
                retain_graph=True,
                materialize_grads=True,
            )
            return products

        return _each(one, [parts[i] for i in self._pulled.curved], self._vectors, several)


def _check(nodes: Sequence[Any]) -> None:
    """Raise where the graph from `nodes` on comes to an operation that has no further derivative.

    `torch.autograd.grad` says nothing of it where the way on is cut off: it would give zeros there.
    """
    seen: set[Any] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.name().rpartition("::")[2] in ("Error", "NotImplemented"):
            raise ValueError(
                "an operation of the model or of the loss has no second derivative (is it a custom autograd function "
                "marked once_differentiable?). torch would treat it as zero. Write its backward with differentiable "
                'operations and remove the mark, or pass products="finite-difference", which needs none'
            )
        waiting += [following for following, _ in node.next_functions if following is not None]


def _each(
    one: Callable[..., tuple[torch.Tensor, ...]], parts: Sequence[torch.Tensor], vectors: Vectors, several: bool
) -> list[torch.Tensor]:
    if not several:
        return list(one(*parts))
    vectors.several = True
    try:
        return list(torch.vmap(one)(*parts))
    finally:
        vectors.several = False


@contextmanager
def on_disk(known: Sequence[torch.Tensor]) -> Iterator[None]:
    """Keep what graphs built inside save in temporary files, from which each product reads it."""
    here = {t.untyped_storage().data_ptr() for t in known}
    file = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the graphs that read from it)
    end = 0

    def pack(t: torch.Tensor) -> Any:
        nonlocal end
        if t.layout != torch.strided or t.nbytes < _SMALL or t.untyped_storage().data_ptr() in here:
            return t
        values = t.detach().contiguous().cpu().view(-1).view(torch.uint8).numpy()
        start, end = end, end + values.nbytes
        file.seek(start)
        file.write(memoryview(values))
        return file, start, t.shape, t.dtype, t.device

    def unpack(packed: Any) -> torch.Tensor:
        if isinstance(packed, torch.Tensor):
            return packed
        source, start, shape, dtype, device = packed
        buffer = torch.empty(shape, dtype=dtype)
        source.seek(start)
        source.readinto(memoryview(buffer.view(-1).view(torch.uint8).numpy()))
        return buffer.to(device)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield


_SMALL = 2**14  # bytes below which a tensor stays in memory
