"""fastlanczos/eigenpairs/filter_choice.py: a filter where convergence is slow, none where plain steps get on better."""

import numpy as np

from fastlanczos.eigenpairs.filter_choice import better_filter, filter_is_better
from fastlanczos.eigenpairs.rows import Rows
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.engine.host_run import HostRun


def choice(d, k=4, most=30, restarts=20):
    """Restart until a filter is found, or so many times."""
    run = HostRun(d.size, most, "float64")
    run.start(np.random.default_rng(0).standard_normal(d.size))
    rows = Rows(run, Wanted("LA", k), 1e-14)
    for _ in range(restarts):
        while not run.finished:
            run.advance(d * run.vector)
        ritz = rows.ritz()
        change = better_filter(rows, ritz, np.argsort(ritz.values)[-k:])
        if change is not None:
            break
        rows.keep(rows.wanted.order(ritz.values)[: 2 * k], ritz)
    return rows, ritz, change


def test_a_crowded_end_gets_a_filter_that_spreads_it():
    d = np.linspace(0.0, 1.0, 3000)
    _, ritz, change = choice(d)
    assert change is not None
    assert change.filter.degree > 4
    low, high = change.filter.interval
    assert np.abs(change.filter(np.linspace(max(low, d[0]), min(high, d[-1]), 50))).max() <= 1.0 + 1e-9
    assert np.abs(change.filter(ritz.values[-1:]))[0] > 1.0
    assert not np.intersect1d(change.best, change.done).size


def test_a_filter_is_kept_unless_another_has_twice_its_degree():
    rows, ritz, change = choice(np.linspace(0.0, 1.0, 3000))
    rows.filter = change.filter
    assert better_filter(rows, ritz, np.argsort(ritz.values)[-4:]) is None


def test_values_far_out_need_none():
    _, _, change = choice(np.r_[1e-3 * np.linspace(-1, 1, 2996), 10.0, 20.0, 30.0, 40.0], restarts=1)
    assert change is None


def full(d, most):
    run = HostRun(d.size, most, "float64")
    run.start(np.random.default_rng(0).standard_normal(d.size))
    while not run.finished:
        run.advance(d * run.vector)
    return run


def test_a_full_basis_is_given_up_for_a_filter_where_that_is_of_use():
    far, crowded = np.r_[np.linspace(0, 1, 3000), 2, 3, 4, 5], np.linspace(0, 1, 3000)
    assert not filter_is_better(full(far, 60), Wanted("LA", 4), 1e-14)
    assert filter_is_better(full(crowded, 60), Wanted("LA", 4), 1e-14)
    assert filter_is_better(full(crowded, 60), Wanted("BE", 4), 1e-14)
