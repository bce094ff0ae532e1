"""The loss of a model as a function of its parameters. The model itself is not changed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from fastlanczos.model.activations import activations
from fastlanczos.model.checkpoints import checkpoints
from fastlanczos.model.gathering import Gathering
from fastlanczos.model.interception import Interception
from fastlanczos.model.losses import BatchLoss, Loss
from fastlanczos.model.parameters import ParameterSpace
from fastlanczos.model.sharded import bare, local, whole
from fastlanczos.model.statistics import BatchNormStatistics, LayerReached, Moments

__all__ = ["Evaluation", "Forward", "ModelFunction", "Snapshot"]

Forward = Callable[[Any, Any], tuple[Any, Any]]


@dataclass(frozen=True)
class Evaluation:
    """The loss of a batch and how it came about."""

    loss: BatchLoss
    leaves: list[torch.Tensor]
    interception: Interception


class Snapshot:
    """A model's parameters, buffers and modes as they were: copies, so that graphs outlive a step of training.

    Of parameters that ranks share out it has all, or with `piece` this rank's pieces alone.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        space: ParameterSpace,
        dtype: torch.dtype | None,
        piece: Callable[[str, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        def copied(t: torch.Tensor) -> torch.Tensor:
            return t.detach().clone() if dtype is None or not t.is_floating_point() else t.detach().to(dtype, copy=True)

        self._modes, entries = _modes_and_entries(model)
        piece = piece or (lambda name, p: whole(p))
        self.parameters = {name: copied(piece(name, p)) for name, p in model.named_parameters()}
        self.buffers = {name: copied(whole(b)) for name, b in model.named_buffers()}
        copies: dict[int, torch.Tensor] = {}
        if dtype is None:  # otherwise what is compared with the model is not what is computed with
            kept = ((p, self.parameters[name].detach()) for name, p in model.named_parameters())
            copies = {id(p): copy for p, copy in kept if local(p) is p and copy.shape == p.shape}
            copies |= {id(b): self.buffers[name] for name, b in model.named_buffers()}
        self._entries = [
            (name, copies[id(t)] if id(t) in copies else copies.setdefault(id(t), local(t).detach().clone()))
            for name, t in entries
        ]
        self._names = space.names
        self.leaves = [self.parameters[name].requires_grad_() for name in space.names]

    def lay_out(self, channels_last: bool) -> None:
        """Keep kernels of convolutions with their channels last, or not; the images that they give follow them."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        for name, p in self.parameters.items():
            if p.ndim == 4:
                self.parameters[name] = p.detach().contiguous(memory_format=layout)
        self.leaves = [self.parameters[name].requires_grad_() for name in self._names]

    def same_modes(self, model: torch.nn.Module) -> bool:
        """Whether each module is in the mode (train or eval) that it was in."""
        return self._modes == _modes_and_entries(model)[0]

    def holds(self, model: torch.nn.Module) -> bool:
        """Whether the model is as it was; of DTensors, as far as this rank sees."""
        modes, now = _modes_and_entries(model)
        return (
            self._modes == modes
            and len(now) == len(self._entries)
            and all(
                name == before[0] and t.shape == before[1].shape and t.dtype == before[1].dtype and _equal(t, before[1])
                for (name, t), before in zip(((name, local(t)) for name, t in now), self._entries, strict=True)
            )
        )


class ModelFunction:
    """`evaluate(snapshot, batch)` is the batch's loss as a function of the snapshot's leaves."""

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Loss,
        forward: Forward | None,
        statistics: BatchNormStatistics,
        seed: int | None,
    ) -> None:
        self.model = model
        self.statistics = statistics
        self.draws = False  # whether a forward pass took random numbers
        self.gathering: Gathering | None = None  # where a snapshot has pieces of the parameters
        self.weight = 1.0  # of a batch's loss: 0 where a rank only keeps step with the others
        self._loss = loss
        self._forward = forward or _call
        self._seed = seed
        self._whole, self._again = _Whole(model, self._run), _Again(model)

    def evaluate(
        self, snapshot: Snapshot, batch: Any, *, closed: bool, leaves: tuple[torch.Tensor, ...] | None = None
    ) -> Evaluation:
        """Return the loss of a batch; with `leaves` at other values of the chosen parameters."""
        chosen = snapshot.leaves if leaves is None else list(leaves)
        interception = Interception(self.statistics, closed=closed)
        loss = self._call(snapshot, chosen, batch, interception)
        return Evaluation(loss, chosen, interception)

    def differentiate(
        self,
        snapshot: Snapshot,
        batch: Any,
        leaves: list[torch.Tensor],
        backward: Callable[[BatchLoss], object] = lambda loss: loss.total.backward(),
    ) -> BatchLoss:
        """Return the loss of a batch at `leaves`, on which `backward` may call torch's own first derivatives.

        Fused attention and reentrant checkpoints included. By default the loss's go into the leaves' grad.
        """
        return self._call(snapshot, leaves, batch, Interception(self.statistics, closed=False), backward=backward)

    def reaches_next_batch_norm(self, snapshot: Snapshot, batch: Any, moments: Moments) -> bool:
        """Go forward to the next batch norm, add what it gets to `moments`; return whether there is one."""
        interception = Interception(self.statistics, closed=False, collect=moments)
        try:
            with torch.no_grad():
                self._call(snapshot, snapshot.leaves, batch, interception)
        except LayerReached:
            return True
        return False

    def _call(
        self,
        snapshot: Snapshot,
        leaves: list[torch.Tensor],
        batch: Any,
        interception: Interception,
        *,
        backward: Callable[[BatchLoss], object] | None = None,
    ) -> BatchLoss:
        of = {id(a): b for a, b in zip(snapshot.leaves, leaves, strict=True)}
        parameters = {name: of.get(id(p), p) for name, p in snapshot.parameters.items()}
        gathered = _nothing if self.gathering is None else partial(self.gathering.within, parameters)
        state = {f"model.{name}": p for name, p in parameters.items()} if self.gathering is None else {}
        state |= {f"model.{name}": b.clone() for name, b in snapshot.buffers.items()}
        if self._seed is not None:
            torch.manual_seed(self._seed)
        before = torch.get_rng_state()
        with ExitStack() as stack:
            stack.enter_context(bare(self.model))
            stack.enter_context(gathered())
            if backward is None:
                stack.enter_context(self._differentiable_twice())
            stack.enter_context(interception)
            if backward is None:
                stack.enter_context(activations(interception))
                stack.enter_context(checkpoints(interception, partial(self._evaluate_again, state, gathered)))
            loss: BatchLoss = torch.func.functional_call(self._whole, state, (batch, interception, backward))
        self.draws = self.draws or not torch.equal(before, torch.get_rng_state())
        if self.draws and self._seed is None:
            raise ValueError(
                "the model draws random numbers as it computes (dropout, noise), so each product would belong to a "
                "different matrix. Call model.eval(), or pass seed= to draw the same ones in every product"
            )
        return loss

    def _differentiable_twice(self) -> ExitStack:
        """Return a context in which attention and recurrent layers take the way that has a second derivative."""
        stack = ExitStack()
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))  # not fused
        if any(isinstance(m, torch.nn.RNNBase) for m in self.model.modules()):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        return stack

    def _evaluate_again(
        self, state: dict[str, torch.Tensor], gathered: Callable[..., Any], work: Callable[[], Any]
    ) -> Any:
        """Do what a checkpoint does again, under the conditions of the evaluation."""
        with self._differentiable_twice(), bare(self.model), gathered(again=True):
            return torch.func.functional_call(self._again, state, (work,))

    def _run(self, model: torch.nn.Module, batch: Any, interception: Interception) -> BatchLoss:
        output, target = self._forward(model, batch)
        loss = self._loss(output, target, batch, interception.losses)
        return loss if self.weight == 1.0 else replace(loss, total=loss.total * self.weight)


def _nothing(*, again: bool = False) -> nullcontext[None]:
    """What stands around an evaluation where nothing is gathered."""
    return nullcontext()


class _Whole(torch.nn.Module):
    """Model, forward and loss as one module, in all of which the parameters are replaced."""

    def __init__(self, model: torch.nn.Module, run: Callable[..., BatchLoss]) -> None:
        super().__init__()
        self.model = model
        self._run = run

    def forward(
        self, batch: Any, interception: Interception, backward: Callable[[BatchLoss], object] | None
    ) -> BatchLoss:
        """Return the loss of the batch; `backward` while the parameters are replaced, which checkpoints read again."""
        loss = self._run(self.model, batch, interception)
        if backward is not None and loss.total.requires_grad:
            backward(loss)
        return loss


class _Again(torch.nn.Module):
    """What a checkpoint runs again, with the model's parameters replaced as in `_Whole`."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], Any]) -> Any:
        """Do the work."""
        return work()


_TARGETS = ("labels", "label", "targets", "target")


def _call(model: torch.nn.Module, batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, Mapping):
        key = next((k for k in _TARGETS if k in batch), None)
        accepted = inspect.signature(model.forward).parameters
        variable = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
        inputs = {k: v for k, v in batch.items() if k != key or k in accepted or variable}
        return model(**inputs), None if key is None else batch[key]
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TypeError(
            f"a batch must be (input, target), got {type(batch).__name__}"
            + (f" of length {len(batch)}" if isinstance(batch, (tuple, list)) else "")
            + ": give forward=, a function (model, batch) -> (output, target), for batches of another form (dicts "
            "become the model's keyword arguments)"
        )
    return model(batch[0]), batch[1]


def _modes_and_entries(model: torch.nn.Module) -> tuple[list[bool], list[tuple[str, torch.Tensor]]]:
    """Each module's mode, and all parameters and buffers, tied ones each time, without the modules' names, which take
    longer to find."""
    modes, entries = [], []
    for module in model.modules():
        modes.append(module.training)
        for tensors in (module._parameters, module._buffers):
            entries += [(name, t) for name, t in tensors.items() if t is not None]
    return modes, entries


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.device == b.device and bool(torch.equal(a, b))
