"""What runs give of f, all at once: as one by one."""

from dataclasses import replace

import numpy as np
import pytest

import fastlanczos as fl
from fastlanczos.gauss.brackets import Bounds
from fastlanczos.sums.functions import as_function
from fastlanczos.sums.rules import EXACT, Recurrence, last_changes, values_of

D = np.geomspace(1e-2, 1, 80)
LOG = as_function("log")


def recurrence(steps, seed, exact=False):
    r = fl.lanczos(np.diag(D), num_steps=steps, seed=seed)
    return Recurrence(r.alpha, np.append(r.beta, r.residual_norm), 80.0, exact)


def test_runs_of_any_lengths_are_evaluated_together_as_alone():
    runs = [recurrence(12, 0), recurrence(9, 1, exact=True), recurrence(12, 2), recurrence(1, 3)]
    together = values_of(LOG, 80, runs, Bounds(1e-2, None), 1e-16)
    for run, value in zip(runs, together, strict=True):
        (alone,) = values_of(LOG, 80, [run], Bounds(1e-2, None), 1e-16)
        assert replace(alone, rounding=value.rounding) == value  # nodes are known to the norm of all runs
    assert together[1].changes == EXACT
    assert together[1].half_bracket == 0.0


def test_a_value_is_the_gauss_rule_s_and_its_changes_are_those_of_fewer_steps():
    run = recurrence(12, 0)
    (value,) = values_of(LOG, 80, [run], Bounds(), 1e-16)

    def with_steps(m):
        x, w = fl.quadrature(run.alpha[:m], run.beta[: m - 1])
        return 80.0 * float(w @ np.log(x))

    assert value.value == pytest.approx(with_steps(12), rel=1e-14)
    assert value.changes == pytest.approx([with_steps(9) - with_steps(6), with_steps(12) - with_steps(9)], rel=1e-10)
    ((*last,),) = last_changes(LOG, 80, [run], [value])
    assert last == pytest.approx([with_steps(12) - with_steps(m) for m in (11, 10, 9)], rel=1e-10)
    assert value.half_bracket is None
    assert value.norm == pytest.approx(1.0, rel=1e-2)


def test_the_function_is_called_once_for_all_runs():
    calls = []

    def f(x):
        calls.append(x.size)
        return np.log(x)

    values_of(as_function(f), 80, [recurrence(12, seed) for seed in range(5)], Bounds(), 1e-16)
    assert len(calls) <= 5  # all steps, what rounding does to them, fewer steps, around nodes, at 0


CLUSTER = 1.0 + np.r_[np.linspace(0.0, 1e-9, 50), np.linspace(1.0, 5.0, 30)]


@pytest.mark.parametrize(
    ("f", "inside"),
    [
        (lambda x: np.where(x > 1.0 + 5e-10, 1.0, 0.0), True),
        (lambda x: np.where(x > 1.0 + 1e-6, 1.0, 0.0), False),
        (lambda x: np.log(x), False),
        (lambda x: 1.0 / x, False),
    ],
)
def test_a_jump_or_cusp_inside_of_a_cluster_is_in_doubt_and_a_smooth_function_is_not(f, inside):
    r = fl.lanczos(np.diag(CLUSTER), num_steps=25, seed=0)
    run = Recurrence(r.alpha, np.append(r.beta, r.residual_norm), 80.0, False)
    (value,) = values_of(as_function(f), 80, [run], Bounds(), 1e-16)
    assert (value.blur > 10.0) if inside else (value.blur < 1e-3)


def test_a_lowest_node_that_may_reach_down_to_zero_puts_an_inverse_in_doubt_without_limit():
    d = np.r_[np.full(50, 1e-8), np.geomspace(1e-6, 1, 30)]
    r = fl.lanczos(np.diag(d), num_steps=6, seed=0)
    run = Recurrence(r.alpha, np.append(r.beta, r.residual_norm), 80.0, False)
    (value,) = values_of(as_function("inv"), 80, [run], Bounds(), 1e-16)
    assert value.blur > np.sum(1 / d)


def test_a_cusp_at_zero_between_two_nodes_is_seen():
    d = np.r_[np.zeros(20), np.linspace(-1, -0.01, 30), np.linspace(0.01, 1, 30)]
    r = fl.lanczos(np.diag(d), num_steps=8, seed=3)
    run = Recurrence(r.alpha, np.append(r.beta, r.residual_norm), 80.0, False)
    cusp = as_function(lambda x: np.abs(x) ** 0.1)
    (value,) = values_of(cusp, 80, [run], Bounds(), 1e-16)
    assert value.blur > 0.2 * abs(value.value - np.sum(np.abs(d) ** 0.1))


def test_a_function_need_not_be_defined_beside_the_spectrum():
    def strict(x):
        if (x < 1.0).any() or (x > 6.0).any():
            raise ArithmeticError("outside")
        return np.sqrt(x - 1.0)

    e = fl.trace(np.diag(CLUSTER), strict, num_steps=12, num_probes=3, seed=0)
    assert np.isfinite(e.half_width())
