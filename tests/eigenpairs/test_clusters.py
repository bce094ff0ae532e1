"""fastlanczos/eigenpairs/clusters.py: residuals that stop falling, and what is wanted beside locked pairs."""

from types import SimpleNamespace

import numpy as np
import pytest

from fastlanczos.eigenpairs.clusters import Clusters
from fastlanczos.eigenpairs.rows import Ritz, Rows
from fastlanczos.eigenpairs.wanted import Wanted

NEW = np.array([0])


def rows_of(locked=(), finished=True, most=20):
    rows = Rows(SimpleNamespace(max_steps=most, finished=finished, steps=most), Wanted("LA", 2), 1e-14)
    rows.locked, rows.norm = np.array(locked, dtype=float), 1.0
    return rows


def ritz_of(values, estimates):
    values, estimates = np.array(values, dtype=float), np.array(estimates, dtype=float)
    return Ritz(values, values, np.eye(values.size), estimates, estimates, np.ones(values.size, dtype=bool))


def told(clusters, estimates):
    return [clusters.explain(ritz_of([1.0], [e]), NEW) for e in estimates]


def test_estimates_that_fall_are_no_cluster():
    assert not any(told(Clusters(rows_of(), 0.0, mixtures=True), 1e-7 * 0.5 ** np.arange(12)))


def test_estimates_that_stand_still_are_one_after_some_patience():
    clusters = Clusters(rows_of(), 0.0, mixtures=True)
    assert told(clusters, [1e-8] * 6) == [False] * 5 + [True]
    assert clusters.width == pytest.approx(2e-8)
    clusters.forget()
    assert clusters.width == 0.0


@pytest.mark.parametrize("case", ["large", "not full", "forbidden", "no room"])
def test_nothing_is_put_down_to_a_cluster(case):
    rows = rows_of(finished=case != "not full", most=3 if case == "no room" else 20)
    clusters = Clusters(rows, 0.0, mixtures=case != "forbidden")
    assert not any(told(clusters, [1e-3 if case == "large" else 1e-8] * 10))


def test_beside_the_wanted_are_better_ones_and_those_within_the_width():
    clusters = Clusters(rows_of(locked=[1.0, 1.1]), 1e-7, mixtures=True)
    ritz = ritz_of([0.5, 1.0 - 5e-8, 1.0 - 2e-7, 1.3], [1e-15] * 4)
    assert sorted(clusters.beside(ritz, np.arange(4))) == [1, 3]
    assert not clusters.crowded


def test_ties_without_room_are_noticed():
    clusters = Clusters(rows_of(locked=[1.0, 1.0], most=6), 1e-7, mixtures=True)  # room for one row
    ritz = ritz_of([1.0, 1.0, 1.0], [1e-15] * 3)
    assert clusters.beside(ritz, np.arange(3)).size == 1
    assert clusters.crowded
