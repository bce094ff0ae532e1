"""fastlanczos/tracking/sampling.py."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cases.networks import mlp  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402
from fastlanczos.tracking.sampling import drawn, sampling_errors  # noqa: E402

F = torch.nn.functional


def points(count):
    g = torch.Generator().manual_seed(5)
    return torch.randn(count, 6, generator=g, dtype=torch.float64), torch.randint(3, (count,), generator=g)


def test_samples_are_drawn_without_replacement_from_data_of_every_form():
    x, y = points(100)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8, shuffle=True)
    for data in ((x, y), loader):
        sample = drawn(data, 30, seed=0)
        found = torch.cat([a for a, _ in sample.batches])
        assert len(found) == 30
        assert len({tuple(row.tolist()) for row in found}) == 30
        assert sample.share == 0.3
    assert [len(a) for a, _ in drawn(loader, 30, seed=0).batches] == [8, 8, 8, 6]
    batches = list(zip(x.split(10), y.split(10), strict=True))
    sample = drawn(batches, 25, seed=0)
    assert len(sample.batches) == 3
    assert sample.share == 0.3

    class Stream:
        def __iter__(self):
            return iter(batches)

    assert len(drawn(Stream(), 25, seed=0).batches) == 3
    assert drawn(Stream(), 25, seed=0).share == 0.0


def test_the_same_seed_draws_the_same():
    x, y = points(100)
    first, again, other = (drawn((x, y), 20, seed=seed).batches[0][0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_stated_errors_are_those_of_drawing_again():
    model, data = mlp(), points(2000)
    whole = flt.HessianOperator(model, F.cross_entropy, data)
    top = torch.linalg.eigh(whole @ torch.eye(whole.shape[0], dtype=torch.float64))[1][:, -1].numpy()
    found, stated = [], []
    for seed in range(60):
        sample = drawn(data, 200, seed)
        H = whole.on(sample.batches)
        matrix = H @ torch.eye(H.shape[0], dtype=torch.float64)
        found.append([H.loss(), float(matrix.trace()), float(torch.linalg.eigvalsh(matrix)[-1])])
        errors = sampling_errors(H, sample, top, seed=seed)
        stated.append([errors["loss"], errors["trace"], errors["largest"]])
    actual = np.std(found, axis=0, ddof=1)
    typical = np.sqrt(np.mean(np.square(stated), axis=0))
    # The spread of 60 draws is itself known to a tenth; the trace's error has a part of the probes'.
    assert np.all(typical > 0.75 * actual)
    assert np.all(typical < np.array([1.35, 2.0, 1.35]) * actual)


def test_of_all_the_data_there_is_no_error():
    model, data = mlp(), points(64)
    H = flt.HessianOperator(model, F.cross_entropy, data)
    errors = sampling_errors(H, drawn(data, 64, 0), np.eye(H.shape[0])[0], seed=0)
    assert set(errors.values()) == {0.0}
