"""fastlanczos/eigenpairs/complement.py: rounds end when nothing that is wanted can be left, and not before."""

import numpy as np

from fastlanczos.eigenpairs.complement import Complement
from fastlanczos.eigenpairs.rows import Rows
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.engine.host_run import HostRun

N = 300


def search(d, k, steps):
    """Rows of diag(d) with the k largest locked, a round in their complement begun, and so many steps taken in it."""
    run = HostRun(d.size, 60, "float64")
    generator = np.random.default_rng(0)
    run.start(generator.standard_normal(d.size))
    rows = Rows(run, Wanted("LA", k), 1e-14)
    advance(run, d, 18)
    ritz = rows.ritz()
    rows.lock(ritz, np.arange(0), np.argsort(ritz.values)[-k:])
    complement = Complement(rows, d.size, lambda: generator.standard_normal(d.size))
    assert not complement.resolved(rows.ritz(), 0.0)  # no round has looked yet
    assert complement.begin_round()
    advance(run, d, k + steps)
    complement.steps = steps
    return rows, complement


def advance(run, d, steps):
    while run.steps < steps and not run.finished:
        run.advance(d * run.vector)


def test_a_far_complement_is_resolved_after_some_steps_and_not_after_few():
    d = np.r_[np.linspace(-1, 1, N - 2), 5.0, 6.0]
    rows, complement = search(d, 2, 2)
    assert not complement.resolved(rows.ritz(), 0.0)
    rows, complement = search(d, 2, 25)
    assert complement.resolved(rows.ritz(), 0.0)


def test_a_second_copy_is_seen_above_the_limit():
    d = np.r_[np.linspace(-1, 1, N - 3), 5.0, 6.0, 6.0]
    rows, _ = search(d, 2, 25)
    assert rows.ritz().values.max() > rows.limits()[1]  # 6 again, where 5 was the last of the wanted


def test_a_round_forgets_what_the_one_before_has_settled():
    d = np.r_[np.linspace(-1, 1, N - 2), 5.0, 6.0]
    rows, complement = search(d, 2, 25)
    assert complement.resolved(rows.ritz(), 0.0)
    rows.replace(np.eye(2, rows.run.steps))
    assert complement.begin_round()
    assert (complement.round, complement.steps) == (2, 0)
    advance(rows.run, d, 3)
    assert not complement.resolved(rows.ritz(), 0.0)
    complement.back_to_the_first()
    assert not complement.resolved(rows.ritz(), 0.0)
