"""Measurements on a random part of a data set, and the error that this choice causes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fastlanczos.curvature.operator import CurvatureOperator
from fastlanczos.model.batches import batches_of, num_samples, split
from fastlanczos.probes.draw import probe, seed_sequence

__all__ = ["Sample", "drawn", "sampling_errors"]

_GROUPS = 8
_PROBES = 8


@dataclass(frozen=True)
class Sample:
    """Batches drawn from a data set of `total` samples (None: not known)."""

    batches: list[Any]
    total: int | None

    @property
    def share(self) -> float:
        """The part of the data set that was drawn, 0 where its size is not known."""
        drawn = sum(num_samples(batch) for batch in self.batches)
        return 0.0 if self.total is None else min(1.0, drawn / self.total)


def drawn(data: Any, samples: int, seed: int) -> Sample:
    """Draw `samples` samples from `data` without replacement, in batches as large as the data's own.

    A data set behind a DataLoader and a pair of tensors are drawn from sample by sample, a list of batches batch by
    batch (until there are enough), anything else is taken from its beginning.
    """
    generator = np.random.default_rng(seed)
    loader = isinstance(data, torch.utils.data.DataLoader) and hasattr(data.dataset, "__getitem__")
    if loader and data.batch_sampler is not None:
        total = len(data.dataset)
        chosen = np.sort(generator.permutation(total)[:samples]).tolist()
        part = torch.utils.data.Subset(data.dataset, chosen)
        size = data.batch_size or _batch_size(data)
        return Sample(list(torch.utils.data.DataLoader(part, size, collate_fn=data.collate_fn)), total)
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, torch.Tensor) for part in data):
        total = len(data[0])
        rows = torch.from_numpy(np.sort(generator.permutation(total)[:samples]))
        return Sample([(data[0][rows], data[1][rows])], total)
    if isinstance(data, (list, tuple)):
        order = generator.permutation(len(data))
        enough = _enough((data[i] for i in order), samples)
        return Sample(enough, sum(num_samples(batch) for batch in data))
    return Sample(_enough(batches_of(data)(), samples), None)


def _batch_size(loader: Any) -> int:
    return len(next(iter(loader.batch_sampler)))


def _enough(batches: Iterator[Any], samples: int) -> list[Any]:
    taken: list[Any] = []
    count = 0
    for batch in batches:
        taken.append(batch)
        count += num_samples(batch)
        if count >= samples:
            break
    return taken


def sampling_errors(H: CurvatureOperator, sample: Sample, top: Any, *, seed: int) -> dict[str, float]:
    """Return the standard errors of the loss, the trace and the largest eigenvalue that come from drawing samples.

    The sample is taken apart into groups of batches. The loss, the mean of v'Hv over a few probes v, and u'Hu for the
    top eigenvector u (by perturbation theory the eigenvalue's change to first order) are means over the groups, whose
    spread tells the error of the mean. That of the trace has a part from the probes, and is on the safe side. What was
    drawn without replacement from a data set of known size has the factor sqrt(1 - share).
    """
    groups = _groups(sample.batches)
    if len(groups) < 2:
        return {}
    seeds = seed_sequence(seed)
    probes = [probe(H.shape[0], seeds, index) for index in range(_PROBES)]
    vectors = torch.from_numpy(np.stack([np.asarray(top), *probes], axis=1))
    values, sizes = [], []
    for group in groups:
        part = H.on(group)
        part.reproducible()
        along = (vectors * (part @ vectors)).sum(0)
        values.append([part.loss(), float(along[1:].mean()), float(along[0])])
        sizes.append(part.num_samples)
    shares = np.array(sizes) / sum(sizes)
    spread = np.array(values) - shares @ np.array(values)
    # The variance of a mean with these shares, from the groups' spread around it.
    variance = (shares**2 @ spread**2) / (1 - (shares**2).sum()) * (1 - sample.share)
    return dict(zip(("loss", "trace", "largest"), np.sqrt(variance).tolist(), strict=True))


def _groups(batches: list[Any]) -> list[list[Any]]:
    if len(batches) == 1 and num_samples(batches[0]) >= 2 * _GROUPS:
        count = num_samples(batches[0])
        batches = split(batches[0], count, -(-count // _GROUPS))
    number = min(_GROUPS, len(batches))
    return [batches[i::number] for i in range(number)]
