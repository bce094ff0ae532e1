"""`fastlanczos study edge`: sharpness under full-batch gradient descent, and Adam, at several step sizes.

A small network on the digits and the squared error, as where the edge of stability was found (Cohen et al., "Gradient
descent on neural networks typically occurs at the edge of stability", ICLR 2021; for Adam "Adaptive gradient methods at
the edge of stability", arXiv 2207.14484).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fastlanczos.eigenpairs.eigsh import eigsh
from fastlanczos.study.claims import Claim
from fastlanczos.study.experiment import Numbers, conduct
from fastlanczos.study.findings import Finding
from fastlanczos.study.images import digits
from fastlanczos.study.rounds import Limits
from fastlanczos.system.files import write_whole
from fastlanczos.torch import HessianOperator, PreconditionedOperator, SpectrumTracker
from fastlanczos.tracking.pictures import new_figure

__all__ = ["Edge", "edge", "small"]

_BETA1 = 0.9
_ANY = float("inf")
_QUESTION = "The edge of stability"


@dataclass(frozen=True)
class Edge:
    """Sizes of the experiment: step sizes of gradient descent and of Adam, steps, how often sharpness is measured."""

    descent: tuple[float, ...] = (0.15, 0.1)
    adam: tuple[float, ...] = (2e-3, 1e-3)
    steps: int = 1500
    every: int = 15
    samples: int = 400
    width: int = 48
    k: int = 10
    seeds: int = 4
    max_seeds: int = 10

    @property
    def names(self) -> tuple[str, ...]:
        """The runs of a seed."""
        steps = [f"step {eta:g}" for eta in self.descent]
        return (*steps, *(f"batch norm, {s}" for s in steps[:1]), *(f"Adam, step {eta:g}" for eta in self.adam))


def small() -> Edge:
    """Return sizes for a look in a minute."""
    return Edge(descent=(0.15,), adam=(2e-3,), steps=600, every=30, samples=200, width=24, seeds=1, max_seeds=1)


def edge(
    output: str | Path,
    *,
    sizes: Edge | None = None,
    hours: float | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> list[Finding]:
    """Run the experiment into a folder, or continue it there; return the claims with their verdicts."""
    s = sizes or Edge()
    return conduct(
        Path(output),
        s.names,
        partial(train, s),
        claims(s),
        {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(s).items()},
        Limits(s.seeds, s.max_seeds, hours),
        jobs=jobs,
        draw=partial(draw, s),
        progress=progress,
    )


def train(s: Edge, name: str, seed: int, folder: Path) -> Numbers:
    """Train with all samples in every step; return sharpness, loss, and the gradient's share in the top space."""
    images, labels = digits(8)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))[: s.samples]
    x = ((images - images.mean()) / images.std())[order].float()
    y = nn.functional.one_hot(labels[order], 10).float()
    normed = [[nn.BatchNorm1d(s.width)] if name.startswith("batch norm") else [] for _ in range(2)]
    model = nn.Sequential(
        nn.Linear(64, s.width), *normed[0], nn.Tanh(), nn.Linear(s.width, s.width), *normed[1], nn.Tanh(),
        nn.Linear(s.width, 10),
    )  # fmt: skip
    eta, adaptive = float(name.split()[-1]), name.startswith("Adam")
    optimizer: torch.optim.Optimizer = (
        torch.optim.Adam(model.parameters(), lr=eta, betas=(_BETA1, 0.999))
        if adaptive
        else torch.optim.SGD(model.parameters(), lr=eta)
    )
    H = HessianOperator(model, _half_squares, (x, y))
    ends = [s.steps // 4 * i for i in range(1, 5)]
    tracker = SpectrumTracker(H, ends, folder, k=s.k, num_probes=1, num_steps=40, seed=seed,
                              optimizer=optimizer)  # fmt: skip
    numbers: Numbers = {name: [] for name in ("step", "sharpness", "raw", "loss", "share", "ratio")}
    numbers["threshold"] = threshold(eta, adaptive)
    start = None
    for step in range(s.steps + 1):
        optimizer.zero_grad()
        loss = _half_squares(model(x), y)
        loss.backward()
        if step % s.every == 0 and (step > 0 or not adaptive):
            # At the parameters that this gradient is of, with the preconditioner of the steps before.
            scaled = PreconditionedOperator(H, optimizer) if adaptive else None
            values, vectors = eigsh(scaled or H, s.k, which="LA", tol=1e-3, v0=start, rng=seed)
            start = vectors
            H.release()  # the parameters change
            gradient = H.gradient().cpu().numpy()
            raw = values[-1]
            if scaled is not None:
                gradient = gradient * np.sqrt(scaled.diagonal.cpu().numpy())
                raw = eigsh(H, 1, which="LA", tol=1e-3, rng=seed, return_eigenvectors=False)[0]
            numbers["step"].append(step)
            numbers["sharpness"].append(float(values[-1]))
            numbers["raw"].append(float(raw))
            numbers["loss"].append(float(loss.detach()))
            numbers["share"].append(float(np.sum((vectors.T @ gradient) ** 2) / np.sum(gradient**2)))
            numbers["ratio"].append(float(values[-1] / values[0]))
        if step == s.steps or not np.isfinite(float(loss.detach())):
            break
        optimizer.step()
        tracker.step(step=step + 1)
    return numbers


def _half_squares(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return 0.5 * ((predicted - wanted) ** 2).sum(1).mean()


def threshold(eta: float, adaptive: bool) -> float:
    """Return the largest eigenvalue at which a step size is stable on a quadratic: 2 / eta, for Adam 38 / eta."""
    return (2 + 2 * _BETA1) / ((1 - _BETA1) * eta) if adaptive else 2 / eta


def claims(s: Edge) -> list[Claim]:
    """Return what is claimed of these runs."""
    plain = tuple(f"step {eta:g}" for eta in s.descent)
    adam = tuple(f"Adam, step {eta:g}" for eta in s.adam)
    normed = (f"batch norm, {plain[0]}",)

    def over(names: tuple[str, ...], statistic: Any) -> Any:
        return lambda runs: float(np.mean([statistic(runs[name]) for name in names]))

    found = [
        Claim(
            "sharpens",
            _QUESTION,
            "Sharpness rises until it meets 2 / step size",
            "Cohen et al. 2021, section 3.1",
            "lambda_1 where it first meets 2 / step size, or at its highest, against its lowest before",
            (0.0, _ANY),
            "times",
            plain,
            over(plain, _rise),
        ),
        Claim(
            "hovers",
            _QUESTION,
            "Then it hovers there",
            "Cohen et al. 2021, section 3.2",
            "median over the last third of training of lambda_1 times the step size over 2",
            (0.9, 1.2),
            "number",
            plain,
            over(plain, _hovering),
        ),
        Claim(
            "hovers-adam",
            _QUESTION,
            "Under Adam the preconditioned sharpness hovers at Adam's own threshold, 38 / step size",
            "Cohen et al. 2022, section 3",
            "median over the last third of training of the preconditioned lambda_1 times the step size over 38",
            (0.8, 1.2),
            "number",
            adam,
            over(adam, _hovering),
        ),
        Claim(
            "adam-sharper",
            _QUESTION,
            "Under Adam the sharpness itself goes on rising",
            "Cohen et al. 2022, section 4",
            "lambda_1 at the end against a third into training",
            (0.0, _ANY),
            "times",
            adam,
            over(adam, lambda run: np.log10(run["raw"][-1] / run["raw"][len(run["raw"]) // 3])),
        ),
        Claim(
            "edge-batch-norm",
            _QUESTION,
            "With batch norm outliers stand out less at the edge, too",
            "Ghorbani et al. 2019, section 4",
            f"lambda_1 / lambda_{s.k} without batch norm against with it, last third of training",
            (0.0, _ANY),
            "times",
            (plain[0], *normed),
            lambda runs: _last(np.log10(runs[plain[0]]["ratio"])) - _last(np.log10(runs[normed[0]]["ratio"])),
        ),
        Claim(
            "edge-gradient",
            _QUESTION,
            "At the edge more of the gradient lies in the top eigenspace than before",
            "ours",
            f"share of |g|^2 in the top {s.k} eigenvectors after lambda_1 has met 2 / step size, minus before",
            (0.0, _ANY),
            "share",
            plain,
            over(plain, _gradient_at_the_edge),
        ),
    ]
    return found


def _met(run: Numbers) -> int:
    """Return the first measurement at the threshold, or that of the largest value."""
    at = np.asarray(run["sharpness"]) >= 0.98 * run["threshold"]
    return int(np.argmax(at)) if at.any() else int(np.argmax(run["sharpness"]))


def _rise(run: Numbers) -> float:
    met = _met(run)
    return float(np.log10(run["sharpness"][met] / min(run["sharpness"][: met + 1])))


def _last(values: Any) -> float:
    return float(np.median(np.asarray(values)[2 * len(values) // 3 :]))


def _hovering(run: Numbers) -> float:
    return _last(run["sharpness"]) / float(run["threshold"])


def _gradient_at_the_edge(run: Numbers) -> float:
    met = max(1, _met(run))
    return float(np.mean(run["share"][met:]) - np.mean(run["share"][:met]))


def draw(s: Edge, folder: Path, numbers: dict[int, dict[str, Numbers]]) -> list[Path]:
    """Draw sharpness, loss and the gradient's share against the step, a column for each kind of training."""
    names = s.names
    figure = new_figure(4.2 * len(names), 8.4)
    for column, name in enumerate(names):
        above, middle, below = (figure.add_subplot(3, len(names), 1 + column + row * len(names)) for row in range(3))
        for seed, runs in numbers.items():
            run = runs.get(name)
            if run is None:
                continue
            color = f"C{seed % 10}"
            above.plot(run["step"], run["sharpness"], color=color, linewidth=1)
            middle.plot(run["step"], run["loss"], color=color, linewidth=1)
            below.plot(run["step"], run["share"], color=color, linewidth=1)
            above.axhline(run["threshold"], color="0.4", linestyle="--", linewidth=1)
        above.set_title(name, fontsize=10)
        above.set_yscale("log")
        middle.set_yscale("log")
        below.set_ylim(0, 1)
        below.set_xlabel("step")
        if column == 0:
            above.set_ylabel("largest eigenvalue\n(Adam: preconditioned)")
            middle.set_ylabel("loss")
            below.set_ylabel(f"gradient's share in the top {s.k}")
    path = folder / "edge.png"
    with write_whole(path) as file:
        figure.savefig(file, format="png", dpi=110)
    return [path]
