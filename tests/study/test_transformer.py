"""The study of a transformer's blocks in small."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("plotly")

import torch

from fastlanczos.study.text import CHARACTERS
from fastlanczos.study.transformer import NAMES, TextNetwork, distance, small, transformer

TINY = replace(small(), width=8, length=8, steps=8, num_steps=4, samples=2)


def test_all_is_measured_and_judged(tmp_path):
    found = transformer(tmp_path, sizes=TINY, jobs=1, progress=False)
    assert len(found) == 5
    assert all(np.isfinite(one.values[0]) for one in found)
    assert (tmp_path / "figures" / "transformer.png").stat().st_size > 10_000
    assert (tmp_path / "report.html").exists()
    assert {p.parent.parent.name for p in tmp_path.rglob("numbers.json")} == {name.replace(", ", "-") for name in NAMES}


def test_the_network_sees_no_later_character():
    s = small()
    model = TextNetwork(len(CHARACTERS), s)
    text = torch.randint(len(CHARACTERS), (2, s.length))
    other = text.clone()
    other[:, 10:] = 0
    a, b = model(text), model(other)
    assert a.shape == (2, len(CHARACTERS), s.length)
    torch.testing.assert_close(a[..., :10], b[..., :10])
    assert not torch.equal(a[..., 10:], b[..., 10:])


def test_spectra_of_other_scales_are_far_apart_and_equal_ones_are_not():
    nodes, weights = np.array([-0.01, 0.0, 0.1, 1.0]), np.array([0.1, 0.7, 0.1, 0.1])
    assert distance([(nodes, weights), (nodes, weights)]) == 0.0
    near = distance([(nodes, weights), (nodes, np.array([0.1, 0.6, 0.2, 0.1]))])
    far = distance([(nodes[1:], np.array([0.0, 0.5, 0.5])), (1e-3 * nodes[1:], np.array([0.0, 0.5, 0.5]))])
    assert 0.0 < near < 0.3
    assert far == pytest.approx(1.0)
