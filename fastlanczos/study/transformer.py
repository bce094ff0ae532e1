"""`fastlanczos study transformer`: how different the blocks of a transformer's Hessian are, and what Adam makes of it.

A language model of characters on Python's own standard library, trained with SGD with momentum and with Adam; beside it
a convolutional network on the digits. Zhang et al., "Why Transformers Need Adam: A Hessian Perspective" (NeurIPS 2024,
arXiv 2402.16788).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import jensenshannon
from torch import nn

from fastlanczos.density.estimate import spectral_density
from fastlanczos.eigenpairs.eigsh import eigsh
from fastlanczos.study.claims import Claim
from fastlanczos.study.experiment import Numbers, conduct
from fastlanczos.study.findings import Finding
from fastlanczos.study.images import digits
from fastlanczos.study.networks import ImageNetwork
from fastlanczos.study.rounds import Limits
from fastlanczos.study.text import CHARACTERS, library_text, sequences
from fastlanczos.system.files import write_whole
from fastlanczos.torch import HessianOperator, PreconditionedOperator, SpectrumTracker
from fastlanczos.tracking.pictures import new_figure

__all__ = ["TextNetwork", "Transformer", "distance", "small", "transformer"]

_ANY = float("inf")
_QUESTION, _SOURCE = "Transformers and Adam", "Zhang et al. 2024"
_BINS = np.concatenate([-np.logspace(0, -6, 31), np.logspace(-6, 0, 31)])  # of eigenvalues over the largest of all
NAMES = ("transformer, SGD", "transformer, Adam", "convolutional, SGD", "convolutional, Adam")


@dataclass(frozen=True)
class Transformer:
    """Sizes of the experiment; each optimizer takes the best of its learning rates, by the loss at the end."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    length: int = 64
    batch: int = 32
    steps: int = 600
    samples: int = 16  # sequences whose mean loss the Hessian is of; of images ten times as many
    sgd: tuple[float, ...] = (0.3, 0.1, 0.03)
    adam: tuple[float, ...] = (3e-3, 1e-3)
    num_steps: int = 20
    seeds: int = 4
    max_seeds: int = 8


def small() -> Transformer:
    """Return sizes for a look in a minute."""
    return replace(
        Transformer(), width=16, layers=1, heads=2, length=16, steps=30, samples=4, sgd=(0.1,), adam=(3e-3,),
        num_steps=8, seeds=1, max_seeds=1,
    )  # fmt: skip


class TextNetwork(nn.Module):
    """A causal transformer with normalization before attention and before the feed-forward part."""

    def __init__(self, characters: int, s: Transformer) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(characters, s.width), nn.Parameter(0.02 * torch.randn(s.length, s.width))
        self.layers = nn.ModuleList(_Layer(s.width, s.heads) for _ in range(s.layers))
        self.norm, self.out = nn.LayerNorm(s.width), nn.Linear(s.width, characters)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Return logits (samples, characters, length) for text (samples, length)."""
        x = self.embed(text) + self.place
        for layer in self.layers:
            x = layer(x)
        logits: torch.Tensor = self.out(self.norm(x))
        return logits.transpose(1, 2)


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.together = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.before(x)
        parts = (p(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.query, self.key, self.value))
        y = nn.functional.scaled_dot_product_attention(*parts, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.together(y)
        z: torch.Tensor = x + self.down(nn.functional.gelu(self.up(self.between(x))))
        return z


def transformer(
    output: str | Path,
    *,
    sizes: Transformer | None = None,
    hours: float | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> list[Finding]:
    """Run the experiment into a folder, or continue it there; return the claims with their verdicts."""
    s = sizes or Transformer()
    settings = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(s).items()}
    return conduct(
        Path(output),
        NAMES,
        partial(train, s),
        claims(),
        {**settings, "data": library_text()[0]},
        Limits(s.seeds, s.max_seeds, hours),
        jobs=jobs,
        draw=draw,
        progress=progress,
    )


def train(s: Transformer, name: str, seed: int, folder: Path) -> Numbers:
    """Train with each learning rate, measure along the best; return losses, blocks, and how different they are."""
    reads, adaptive = name.startswith("transformer"), name.endswith("Adam")
    images, labels = digits(28)
    pictures = ((images - images.mean()) / images.std()).float().view(-1, 1, 28, 28)
    text = library_text()[1]

    def batch(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        if reads:
            return sequences(text, s.length, count, generator)
        some = torch.randint(len(labels), (4 * count,), generator=generator)
        return pictures[some], labels[some]

    def made() -> nn.Module:
        torch.manual_seed(seed)
        return TextNetwork(len(CHARACTERS), s) if reads else ImageNetwork(1, 10, batch_norm=False, residual=True)

    def trained(rate: float, look: Any) -> list[float]:
        model, generator = made(), torch.Generator().manual_seed(seed)
        optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(model.parameters(), lr=rate)
            if adaptive
            else torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
        )
        losses = []
        for step in range(s.steps + 1):
            look(model, optimizer, step)
            if step == s.steps:
                break
            x, y = batch(s.batch, generator)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    rates = s.adam if adaptive else s.sgd
    ends = {rate: _end(trained(rate, lambda *_: None)) for rate in rates}
    best = min(ends, key=lambda rate: ends[rate])
    data = batch(s.samples if reads else 2 * s.samples, torch.Generator().manual_seed(0))  # the same for all seeds
    numbers: Numbers = {"rate": best, "ends": {f"{rate:g}": end for rate, end in ends.items()}, "measured": {}}
    tracker = None

    def look(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        nonlocal tracker
        if step not in (0, s.steps // 4, s.steps):
            return
        H = HessianOperator(model, nn.functional.cross_entropy, data)
        if tracker is None:
            tracker = SpectrumTracker(H, (0, s.steps // 4, s.steps), folder, num_probes=1, num_steps=2 * s.num_steps,
                                      k=8, seed=seed, optimizer=optimizer)  # fmt: skip
        tracker.step(step=step) if step else tracker.measure()
        numbers["measured"][str(step)] = measured(H, model, optimizer if adaptive and step else None, s.num_steps, seed)

    numbers["losses"] = trained(best, look)
    numbers["loss"] = _end(numbers["losses"])
    return numbers


def _end(losses: list[float]) -> float:
    end = float(np.mean(losses[-max(1, len(losses) // 20) :]))
    return end if np.isfinite(end) else float("inf")


def measured(H: HessianOperator, model: nn.Module, optimizer: Any, num_steps: int, seed: int) -> Numbers:
    """Return the largest eigenvalue of each block, how different the blocks are, and the same preconditioned."""
    densities, largest, after = {}, {}, {}
    for name in [name for name, p in model.named_parameters() if p.ndim > 1]:
        block = H.block([name])
        density = spectral_density(block, num_probes=1, num_steps=min(num_steps, block.shape[0]), seed=seed)
        densities[name] = (density.nodes.ravel(), density.weights.ravel())
        largest[name] = float(density.nodes.max())
        if optimizer is not None:
            of = PreconditionedOperator(block, optimizer)
            after[name] = float(eigsh(of, 1, which="LA", tol=1e-2, rng=seed, return_eigenvectors=False)[0])
    found: Numbers = {"largest": largest, "difference": distance(list(densities.values()))}
    found["spread"] = _spread(largest)
    if after:
        found["largest, preconditioned"], found["spread, preconditioned"] = after, _spread(after)
    return found


def _spread(largest: dict[str, float]) -> float:
    positive = [np.log10(x) for x in largest.values() if x > 0]
    return float(np.std(positive)) if len(positive) > 1 else 0.0


def distance(densities: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]) -> float:
    """Return the mean Jensen-Shannon distance (base 2: from 0 to 1) of all pairs of spectra, as nodes and weights.

    Eigenvalues are told apart by their size on a logarithmic scale, over six decades below the largest of all.
    """
    scale = max(float(np.abs(nodes).max()) for nodes, _ in densities)
    if scale == 0.0:
        return 0.0
    counts = []
    for nodes, weights in densities:
        inner = np.where(np.abs(nodes) < 1e-6 * scale, 0.0, nodes / scale)
        counts.append(np.histogram(inner, _BINS * (1 + 1e-9), weights=weights)[0])
    return float(np.mean([jensenshannon(a, b, base=2) for a, b in combinations(counts, 2)]))


def claims() -> list[Claim]:
    """Return what is claimed of these runs."""
    reads, sees = NAMES[:2], NAMES[2:]

    def at(run: Numbers, when: int, what: str) -> float:
        return float(list(run["measured"].values())[when][what])

    def difference(when: int) -> Any:
        return lambda runs: np.mean([at(runs[a], when, "difference") - at(runs[b], when, "difference")
                                     for a, b in zip(reads, sees, strict=True)])  # fmt: skip

    def behind(names: tuple[str, ...]) -> Any:
        return lambda runs: runs[names[0]]["loss"] - runs[names[1]]["loss"]

    return [
        Claim(
            "heterogeneous",
            _QUESTION,
            "The blocks of a transformer's Hessian differ more than a convolutional network's",
            _SOURCE,
            "mean Jensen-Shannon distance of the blocks' spectra before training, transformer minus convolutional",
            (0.0, _ANY),
            "number",
            NAMES,
            difference(0),
        ),
        Claim(
            "heterogeneous-end",
            _QUESTION,
            "They do so after training, too",
            _SOURCE,
            "the same at the end of training",
            (0.0, _ANY),
            "number",
            NAMES,
            difference(-1),
        ),
        Claim(
            "sgd-behind",
            _QUESTION,
            "SGD falls behind Adam on the transformer",
            _SOURCE,
            "loss at the end of SGD with momentum minus Adam's, each at its best learning rate, in nats",
            (0.0, _ANY),
            "number",
            reads,
            behind(reads),
        ),
        Claim(
            "sgd-level",
            _QUESTION,
            "On the convolutional network it does not",
            _SOURCE,
            "the same for the convolutional network; level taken as 0.05",
            (-_ANY, 0.05),
            "number",
            sees,
            behind(sees),
        ),
        Claim(
            "adam-alike",
            _QUESTION,
            "Adam's preconditioner makes the transformer's blocks more alike",
            _SOURCE,
            "spread over blocks (standard deviation of log10) of the largest eigenvalue at the end, preconditioned "
            "minus not",
            (-_ANY, 0.0),
            "number",
            (reads[1],),
            lambda runs: at(runs[reads[1]], -1, "spread, preconditioned") - at(runs[reads[1]], -1, "spread"),
        ),
    ]


def draw(folder: Path, numbers: dict[int, dict[str, Numbers]]) -> list[Path]:
    """Draw the losses of all runs, and the blocks' largest eigenvalues through training."""
    figure = new_figure(15, 9)
    loss = figure.add_subplot(2, 3, 1)
    for i, name in enumerate(NAMES):
        for seed, runs in numbers.items():
            if name in runs:
                smooth = np.convolve(runs[name]["losses"], np.ones(10) / 10, mode="valid")
                loss.plot(smooth, color=f"C{i}", linewidth=1, label=name if seed == min(numbers) else None)
    loss.set(xlabel="step", ylabel="training loss", yscale="log")
    loss.legend(fontsize=8)
    for i, name in enumerate(NAMES):
        axes = figure.add_subplot(2, 3, i + 2)
        first = next((runs[name] for runs in numbers.values() if name in runs), None)
        if first is None:
            continue
        for step, one in first["measured"].items():
            axes.plot(
                list(one["largest"].values()), range(len(one["largest"])), "o", label=f"step {step}", markersize=4
            )
        last = list(first["measured"].values())[-1]
        if "largest, preconditioned" in last:
            scaled = np.array(list(last["largest, preconditioned"].values()))
            axes.plot(scaled / scaled.max() * max(last["largest"].values()), range(len(scaled)), "x", color="0.3",
                      label="preconditioned, same maximum")  # fmt: skip
        axes.set_yticks(
            range(len(last["largest"])), [block.removesuffix(".weight") for block in last["largest"]], fontsize=6
        )
        axes.set(xscale="log", xlabel="largest eigenvalue of the block", title=name)
        axes.legend(fontsize=7)
    path = folder / "transformer.png"
    with write_whole(path) as file:
        figure.savefig(file, format="png", dpi=110)
    return [path]
