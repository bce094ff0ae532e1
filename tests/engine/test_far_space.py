"""Restarts and new candidates on the emulated GPU, beside those of the CPU engine."""

import shutil

import fake_gpu
import numpy as np
import pytest
from cases.recurrence import Noisy

import fastlanczos as fl
from fastlanczos.engine.far_space import DeviceSpace
from fastlanczos.engine.far_vectors import FarVector
from fastlanczos.engine.host_run import HostRun

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")


class Both:
    """A run on the GPU and one on the CPU that are told the same."""

    def __init__(self, gpu, n, rows):
        self.gpu = gpu
        self.host = HostRun(n, rows, "float64")
        self.device = DeviceSpace(n, rows, fake_gpu.Framework(fake_gpu.Array.empty(gpu, (1,), "float64")))

    def vector(self, values):
        return FarVector(fake_gpu.Array.of(self.gpu, np.asarray(values, dtype=float)), self.device.arithmetic)

    def start(self, v0):
        assert self.host.start(v0)
        assert self.device.start(self.vector(v0))

    def advance(self, product):
        for run, z in (
            (self.host, product(self.host.vector)),
            (self.device, self.vector(product(self.device.vector.array.get()))),
        ):
            assert run.advance(z)

    def restart(self, keep):
        theta, S = np.linalg.eigh(self.host.projected())
        kept = np.r_[: keep // 2, len(theta) - keep + keep // 2 : len(theta)]
        scale = np.abs(self.host.projected()).sum(axis=1).max()
        rotation = np.ascontiguousarray(S[:, kept].T)
        coupling = self.host.remainder * S[-1, kept]
        for run in (self.host, self.device):
            run.restart(rotation, theta[kept], coupling, scale, self.host.exponent)

    def compare(self, tolerance):
        T = self.host.projected()
        np.testing.assert_allclose(self.device.projected(), T, atol=tolerance * np.abs(T).max())
        assert self.device.remainder == pytest.approx(self.host.remainder, rel=tolerance)
        assert self.device.exponent == self.host.exponent
        rows = self.device.rows(self.device.steps).array().get()
        np.testing.assert_allclose(rows, self.host.rows(self.host.steps), atol=1e-9)
        np.testing.assert_allclose(self.device.vector.array.get(), self.host.vector, atol=1e-9)


@pytest.mark.parametrize("jump", [0, 300])
def test_restarts_are_those_of_the_cpu_where_products_are_noisy(gpu, jump):
    noisy = Noisy(steps=24, jump=jump, amplitude=0.02)
    both = Both(gpu, len(noisy.v0), 10)  # everything is 2^jump times as large from step 12 on, after a restart
    both.start(noisy.v0)
    k = 0
    for keep in (4, 5, 4):
        while not both.host.finished and k < noisy.steps:
            both.advance(lambda u, k=k: noisy.product(k, u))
            k += 1
        both.compare(1e-10)
        if both.host.finished:
            both.restart(keep)
            # Nothing of the noise is in what is kept, and all of it in what is not: nu is below 1.
            both.compare(1e-10)
    assert k > 20


@pytest.mark.parametrize("restart", [False, True])
def test_a_new_candidate_is_coupled_to_nothing(gpu, restart):
    noisy = Noisy(steps=30)
    both = Both(gpu, len(noisy.v0), 14)
    both.start(noisy.v0)
    for k in range(8):
        both.advance(lambda u, k=k: noisy.product(k, u))
    other = np.random.default_rng(3).normal(size=len(noisy.v0)) + 50.0 * both.host.rows(1)[0]
    if restart:
        both.restart(4)
    rows = both.device.steps
    assert both.host.renew(other.copy())
    assert both.device.renew(both.vector(other))
    both.compare(1e-10)
    for k in range(8, 11):
        both.advance(lambda u, k=k: noisy.product(k, u))
    assert np.all(both.device.projected()[rows, :rows] == 0.0)
    both.compare(1e-10)


def test_what_is_zero_or_not_finite_is_no_candidate(gpu):
    both = Both(gpu, 50, 10)
    for v in (np.zeros(50), np.full(50, np.inf)):
        assert not both.device.start(both.vector(v))
        assert both.device.breakdown
    both.start(np.ones(50))
    d = np.linspace(1, 2, 50)
    for _ in range(3):
        both.advance(lambda u: d * u)
    inside = both.host.combine(np.array([1.0, 2.0, 3.0]))
    assert not both.host.renew(inside.copy())
    assert not both.device.renew(both.vector(inside))
    assert both.device.breakdown


def test_a_restart_that_cannot_be_is_told(gpu):
    both = Both(gpu, 50, 4)
    both.start(np.ones(50))
    d = np.linspace(1, 2, 50)
    for _ in range(4):
        both.advance(lambda u: d * u)
    with pytest.raises(ValueError, match="keeps fewer rows than there are"):
        both.device.restart(np.eye(4), np.zeros(4), np.zeros(4), 1.0, 0)
    with pytest.raises(ValueError, match="a combination of the rows for each value"):
        both.device.restart(np.eye(3), np.zeros(3), np.zeros(3), 1.0, 0)


def test_two_cards_give_the_same_bits_with_as_many_blocks(gpu, monkeypatch):
    d, v0 = np.linspace(-1, 1, 5000), np.random.default_rng(0).normal(size=5000)

    def bits(multiprocessors, blocks=None, stages=None):
        gpu.configure(multiprocessors=multiprocessors)
        for name, value in (("BLOCKS", blocks), ("STAGES", stages)):
            name = f"FASTLANCZOS_CUDA_{name}"
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, str(value))
        there = fake_gpu.Array.of(gpu, d)
        r = fl.lanczos(lambda v: there * v, 5000, 9, v0=fake_gpu.Array.of(gpu, v0))
        return r.alpha.tobytes(), r.cuda

    alone, told = bits(2)
    assert told == {"blocks": 2, "stages": 6}
    other, _ = bits(5)
    assert other != alone
    assert bits(5, blocks=2) == (alone, told)
    assert bits(2, stages=2)[1] == {"blocks": 2, "stages": 2}
    with pytest.raises(ValueError, match="FASTLANCZOS_CUDA_BLOCKS must be a whole number from 1 to 65536, got 'many'"):
        bits(2, blocks="many")
