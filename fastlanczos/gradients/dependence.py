"""Which tensors the products of a callable depend on, found through autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

__all__ = ["dependence"]


def dependence(product: Callable[[torch.Tensor], Any], v: torch.Tensor) -> list[torch.Tensor]:
    """Return the tensors that require a gradient, were there before `product(v)`, and have an effect on it.

    They need not be leaves: of a matrix that was computed from parameters, it is the matrix. The graph behind them is
    left alone, so that it may be shared with whatever else is differentiated. Operations that PyTorch does not show to
    its function modes (custom autograd functions) are seen by the leaves that they lead to.
    """
    seen = _Seen()
    with torch.enable_grad(), seen:
        y = product(v)
    if not isinstance(y, torch.Tensor) or y.grad_fn is None:
        return [y] if isinstance(y, torch.Tensor) and y.requires_grad else []
    borders: dict[Any, list[torch.Tensor]] = {}
    for tensor in seen.entered.values():
        if tensor.grad_fn is not None:
            borders.setdefault(tensor.grad_fn, []).append(tensor)
    found: dict[int, torch.Tensor] = {}
    waiting, visited = [(y.grad_fn, y.output_nr)], set()
    while waiting:
        node, output = waiting.pop()
        if node is None or (node, output) in visited:
            continue
        visited.add((node, output))
        if hasattr(node, "variable"):  # where a leaf's gradient is accumulated
            found[id(node.variable)] = node.variable
            continue
        here = [tensor for tensor in borders.get(node, []) if tensor.output_nr == output]
        if here:
            found[id(here[0])] = here[0]
        else:
            waiting += node.next_functions
    return list(found.values())


class _Seen(TorchFunctionMode):
    """The tensors that operations take and no operation before them has made."""

    def __init__(self) -> None:
        super().__init__()
        self.entered: dict[int, torch.Tensor] = {}
        self._made: dict[int, torch.Tensor] = {}  # kept alive, so that no other tensor gets an id of theirs

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for x in tree_leaves((args, kwargs)):
            if isinstance(x, torch.Tensor) and x.requires_grad and id(x) not in self._made:
                self.entered[id(x)] = x
        result = func(*args, **kwargs)
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and id(x) not in self.entered:
                self._made[id(x)] = x
        return result
