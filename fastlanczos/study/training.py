"""One network of the study: trained with one seed, measured and experimented with on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from fastlanczos.report.results import run_folder
from fastlanczos.study.descent import experiments
from fastlanczos.study.images import Data
from fastlanczos.study.networks import ImageNetwork
from fastlanczos.study.settings import NETWORKS, Settings
from fastlanczos.system.files import write_whole
from fastlanczos.torch import HessianOperator, Records, SpectrumTracker
from fastlanczos.tracking.sampling import drawn

__all__ = ["Run"]

loss_function = torch.nn.functional.cross_entropy
Told = Callable[[str], None]


class Run:
    """A network, a seed, and the folder of what is found; what is in the folder is not done again."""

    def __init__(self, settings: Settings, data: Data, name: str, seed: int, folder: Path) -> None:
        self.settings, self.data, self.name, self.seed = settings, data, name, seed
        self.batch_norm, self.residual = NETWORKS[name]
        self.folder = folder / run_folder(name) / f"seed-{seed}"
        self.population_folder = self.folder / "population"

    def missing(self) -> int:
        """Return how many measurements and experiments are yet to be done."""
        s = self.settings
        count = sum(Records(self.folder).path(step).exists() for step in s.measure_at)
        wanted = len(s.measure_at) + len(s.descend_at) + 1
        if self.batch_norm:
            wanted += len(s.population_at)
            count += sum(Records(self.population_folder).path(step).exists() for step in s.population_at)
        count += sum(self._descent(step).exists() for step in s.descend_at)
        return wanted - count - (self.folder / "training.json").exists()

    def perform(self, done: Told) -> None:
        """Train, measure and experiment; `done(what)` is told of each thing that was not there before."""
        if self.missing() == 0:
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._train(done)

    def _train(self, done: Told) -> None:
        s = self.settings
        images, labels = self.data
        model = ImageNetwork(
            images.shape[1],
            int(labels.max()) + 1,
            batch_norm=self.batch_norm,
            residual=self.residual,
            width=s.width,
            blocks=s.blocks,
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=s.learning_rate, momentum=s.momentum)
        (sampled,) = drawn(self.data, s.samples, seed=0).batches  # the same for all networks
        batches = list(zip(*(part.split(s.batch_size) for part in sampled), strict=True))

        def operator(model: torch.nn.Module, **options: Any) -> HessianOperator:
            return HessianOperator(model, loss_function, batches, **options)

        def tracker(folder: Path, steps: tuple[int, ...], **options: Any) -> SpectrumTracker:
            return SpectrumTracker(
                operator(model, **options),
                steps,
                folder,
                k=s.k,
                num_probes=s.num_probes,
                num_steps=s.num_steps,
                seed=self.seed,
                optimizer=optimizer,
            )

        trackers = [tracker(self.folder, s.measure_at)]
        if self.batch_norm:
            trackers.append(tracker(self.population_folder, s.population_at, batch_statistics="population"))
        losses = []

        def look(step: int) -> None:
            for one in trackers:
                known = one.records is not None and one.records.path(step).exists()
                if one.step(step=step) is not None and not known:
                    done(f"{self.name}, seed {self.seed}: spectrum at step {step}")
            if step in s.descend_at and not self._descent(step).exists():
                found = experiments(operator, model, k=s.k, num_steps=s.descent_steps, seed=self.seed)
                _write(self._descent(step), found)
                done(f"{self.name}, seed {self.seed}: descent from step {step}")

        look(0)
        for step, (x, y) in enumerate(_minibatches(self.data, s.batch_size, s.steps), start=1):
            if step == s.drop_at + 1:
                for group in optimizer.param_groups:
                    group["lr"] /= 10
            optimizer.zero_grad()
            loss = loss_function(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            look(step)
        if not (self.folder / "training.json").exists():
            _write(self.folder / "training.json", {"losses": losses, "network": self.name, "seed": self.seed})
            done(f"{self.name}, seed {self.seed}: trained")

    def _descent(self, step: int) -> Path:
        return self.folder / f"descent-{step:08d}.json"


def _minibatches(data: Data, size: int, steps: int) -> Iterator[Data]:
    images, labels = data
    while True:
        order = torch.randperm(len(images))
        for part in order.split(size):
            if len(part) < min(size, len(images)):  # a ragged batch has other statistics
                continue
            if steps == 0:
                return
            steps -= 1
            yield images[part], labels[part]


def _write(path: Path, values: dict[str, Any]) -> None:
    with write_whole(path, "w") as file:
        json.dump(values, file)
