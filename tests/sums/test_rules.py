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
    assert len(calls) == 3  # all steps, what rounding does to them, fewer steps
