"""Runs over ranks with an emulated GPU each: the run of one process, in messages on the device."""

import shutil

import fake_gpu
import numpy as np
import pytest

pytest.importorskip("torch")

from cases.ranked import diagonal, on_gpus, on_ranks
from cases.soak import SOAK

import fastlanczos as fl

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")
OPTIONS = {"float64": {}, "float32": {"basis_dtype": "float32"}, "none": {"reorthogonalize": "none"}}
STABLE = {"float64": 30, "float32": 20, "none": 10}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return str(fake_gpu.build(tmp_path_factory.mktemp("emulated")))


@pytest.mark.parametrize("stored", OPTIONS if SOAK else ["float64", "none"])
def test_a_run_is_that_of_one_process_and_the_same_on_all_ranks(tmp_path, library, stored):
    found = on_ranks(2, on_gpus, library, OPTIONS[stored], folder=tmp_path)
    d = diagonal(603)
    expected = fl.lanczos(lambda v: d * v, 603, 50, v0=np.cos(np.arange(603.0)), **OPTIONS[stored])
    density = fl.spectral_density(lambda v: d * v, 603, num_probes=2, num_steps=12, seed=0, reorthogonalize="none")
    for one in found:
        assert "raised" not in one, one
        assert one["alpha"].tobytes() == found[0]["alpha"].tobytes()
        stable = slice(0, STABLE[stored])
        np.testing.assert_allclose(one["alpha"][stable], expected.alpha[stable], atol=1e-10)
        np.testing.assert_allclose(one["beta"][stable], expected.beta[stable], atol=1e-10)
        np.testing.assert_allclose(one["nodes"][:, -1], density.nodes[:, -1], rtol=1e-8)
        assert one["messages"] == (2 if stored == "none" else 5)
        assert one["waits"][0] == one["waits"][1]  # to begin and at the end: none in a step
        assert one["whole"] == 24  # of all ranks together
        np.testing.assert_allclose(one["values"], np.arange(1.0, 25.0), rtol=1e-10)
        assert one["first"][:2] == [6, 3]  # a flag and what the product looks like; a flag and two dot products
    if stored == "float64":
        V = np.hstack([one["basis"] for one in found])
        assert np.abs(V @ V.T - np.eye(50)).max() < 1e-13


@pytest.mark.parametrize("step", [1, 7, 49, 50])
def test_a_rank_whose_product_fails_is_told_to_the_others(tmp_path, library, step):
    first, second = on_ranks(2, on_gpus, library, {}, (1, step), folder=tmp_path, timeout=10)
    assert (second["raised"], second["says"]) == ("ValueError", "out of luck")
    assert first["raised"] == "RankError"
    assert "another rank has failed" in first["says"]
    assert (first["steps"] or 0) == step - 1
