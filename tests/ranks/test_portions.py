"""Probes shared out over gloo ranks: the bits of one process."""

import numpy as np
import pytest
from cases.ranked import diagonal, on_ranks, shared_probes, unseeded

import fastlanczos as fl


@pytest.mark.parametrize("rtol", [None, 0.02])
def test_a_density_has_the_bits_of_one_process(tmp_path, rtol):
    expected = fl.spectral_density(np.diag(diagonal(600)), num_probes=5, num_steps=30, seed=1, rtol=rtol)
    for nodes, weights, info in on_ranks(2, shared_probes, rtol, folder=tmp_path):
        assert nodes.tobytes() == expected.nodes.tobytes()
        assert weights.tobytes() == expected.weights.tobytes()
        assert info == {k: v for k, v in expected.info.items() if k != "lockstep"}


def test_without_a_seed_all_ranks_draw_the_same(tmp_path):
    first, second = on_ranks(2, unseeded, folder=tmp_path)
    for one, other in zip(first, second, strict=True):
        assert one.tobytes() == other.tobytes()
