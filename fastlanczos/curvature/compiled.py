"""Products through a graph, compiled by torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from fastlanczos.curvature.graphs import Graph, Parts

__all__ = ["CompiledGraph", "Compiler"]


class Compiler:
    """Compiles what a product does once for all graphs that do the same with tensors of the same shapes."""

    def __init__(self) -> None:
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def compile(self, work: Callable[..., Any], arguments: Sequence[torch.Tensor]) -> Callable[..., Any]:
        """Return `work` compiled for arguments of these shapes."""
        # What autograd does for these arguments, as a list of operations: torch.compile does not look into autograd.
        traced = make_fx(work)(*arguments)
        tensors = _lifted(traced)
        key = (traced.code, *((t.shape, t.stride(), t.dtype, t.device) for t in (*tensors, *arguments)))
        if key not in self._compiled:
            self._compiled[key] = torch.compile(traced, dynamic=False)
        compiled = self._compiled[key]

        def run(*given: torch.Tensor) -> Any:
            with torch.no_grad():
                return compiled(*tensors, *given)

        return run


class CompiledGraph:
    """A graph whose products are compiled when the first of each shape is asked for."""

    def __init__(self, graph: Graph, compiler: Compiler) -> None:
        self._graph, self._compiler = graph, compiler
        self.reached = graph.reached
        self._products: dict[Any, Callable[..., Any]] = {}

    def check(self) -> None:
        """Raise ValueError if an operation has no second derivative."""
        self._graph.check()

    def product(self, parts: Parts, *, several: bool) -> list[torch.Tensor]:
        """Return the curvature times one vector, or with `several` times each of a stack, shaped as the leaves."""
        key = several, parts[0].shape
        if key not in self._products:
            self._products[key] = self._compiler.compile(
                lambda *vectors: self._graph.product(vectors, several=several), parts
            )
        return list(self._products[key](*parts))


def _lifted(traced: torch.fx.GraphModule) -> list[torch.Tensor]:
    """Make the tensors that the code holds its first arguments, and return them: the code can then serve for others."""
    nodes = [node for node in traced.graph.nodes if node.op == "get_attr"]
    first = next(iter(traced.graph.nodes))
    tensors: dict[str, torch.Tensor] = {}
    placeholders: dict[str, torch.fx.Node] = {}
    for node in nodes:
        name = str(node.target)
        if name not in placeholders:
            tensors[name] = getattr(traced, name).detach()
            with traced.graph.inserting_before(first):
                placeholders[name] = traced.graph.placeholder(name.lstrip("_"))
        node.replace_all_uses_with(placeholders[name])
        traced.graph.erase_node(node)
    for name in tensors:
        delattr(traced, name)
    traced.recompile()
    return list(tensors.values())
