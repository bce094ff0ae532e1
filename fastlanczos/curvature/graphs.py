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

from fastlanczos.model.closed_forms import Vectors
from fastlanczos.model.function import Evaluation

__all__ = ["ForwardHessianGraph", "Graph", "HessianGraph", "JacobianGraph", "measured", "on_disk"]

Parts = Sequence[torch.Tensor]


class Graph(Protocol):
    """What products go through."""

    def check(self) -> None:
        """Raise ValueError if an operation has no second derivative."""

    def product(self, parts: Parts, *, several: bool) -> list[torch.Tensor]:
        """Return the curvature times one vector, or with `several` times each of a stack, shaped as the leaves."""


class HessianGraph:
    """H v by differentiating the gradient's graph: reverse over reverse."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._leaves = evaluation.leaves
        self._vectors = evaluation.interception.vectors
        gradients = _gradients([evaluation.loss.total], self._leaves, create_graph=True)
        # A gradient that does not depend on the parameters has no second derivative.
        self._curved = [i for i, g in enumerate(gradients) if g.requires_grad]
        self._gradients = [gradients[i] for i in self._curved]

    def check(self) -> None:
        """Raise ValueError if an operation has no second derivative."""
        _check(self._gradients)

    def product(self, parts: Parts, *, several: bool) -> list[torch.Tensor]:
        """Return H v."""
        if not self._curved:
            return [torch.zeros_like(part) for part in parts]

        def one(*vector: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return _gradients(self._gradients, self._leaves, vector)

        return _each(one, [parts[i] for i in self._curved], self._vectors, several)


class ForwardHessianGraph:
    """H v by forward over reverse: keeps no graph, and needs no second derivative of what has a forward one."""

    def __init__(self, total: Callable[..., torch.Tensor], leaves: list[torch.Tensor]) -> None:
        self._total, self._leaves = total, leaves

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
        self._dual = [torch.zeros_like(z, requires_grad=True) for z in outputs]
        pulled = _gradients(outputs, self._leaves, self._dual, create_graph=True)
        self._used = [i for i, g in enumerate(pulled) if g.requires_grad]
        self._pulled = [pulled[i] for i in self._used]

    def check(self) -> None:
        """Raise ValueError if an operation has no second derivative."""
        _check(self._pulled)

    def product(self, parts: Parts, *, several: bool) -> list[torch.Tensor]:
        """Return J' B J v."""
        if not self._used:
            return [torch.zeros_like(part) for part in parts]

        def one(*vector: torch.Tensor) -> tuple[torch.Tensor, ...]:
            pushed = _gradients(self._pulled, self._dual, vector)
            return _gradients(self._outputs, self._leaves, tuple(self._inner(pushed)))

        return _each(one, [parts[i] for i in self._used], self._vectors, several)


def _check(tensors: Sequence[torch.Tensor]) -> None:
    """Raise where the graph of `tensors` comes to an operation that has no further derivative.

    `torch.autograd.grad` says nothing of it where the way on is cut off: it would give zeros there.
    """
    seen: set[Any] = set()
    waiting = [t.grad_fn for t in tensors if t.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.name().rpartition("::")[2] in ("Error", "NotImplemented"):
            raise ValueError(
                "an operation of the model or of the loss has no second derivative (is it a custom autograd function "
                "marked once_differentiable?). torch would treat it as zero. Write its backward with differentiable "
                "operations and remove the mark"
            )
        waiting += [following for following, _ in node.next_functions if following is not None]


def _gradients(
    of: Sequence[torch.Tensor],
    to: Sequence[torch.Tensor],
    cotangents: Sequence[torch.Tensor] | None = None,
    *,
    create_graph: bool = False,
) -> tuple[torch.Tensor, ...]:
    if cotangents is not None:
        cotangents = [c.to(z.dtype) for c, z in zip(cotangents, of, strict=True)]
    gradients: tuple[torch.Tensor, ...] = torch.autograd.grad(
        of, to, grad_outputs=cotangents, create_graph=create_graph, retain_graph=True, materialize_grads=True
    )
    return gradients


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
def measured(known: Sequence[torch.Tensor]) -> Iterator[Callable[[], int]]:
    """Count the bytes that graphs built inside save, beside those of `known`; yields a function that tells."""
    seen = {t.untyped_storage().data_ptr() for t in known}
    total = 0

    def pack(t: torch.Tensor) -> torch.Tensor:
        nonlocal total
        if t.layout == torch.strided:
            storage = t.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                kept.append(t)  # or its memory is given to another tensor, which would not count
                total += storage.nbytes()
        return t

    kept: list[torch.Tensor] = []
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            yield lambda: total
    finally:
        kept.clear()


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
