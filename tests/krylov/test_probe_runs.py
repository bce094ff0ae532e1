"""fastlanczos/krylov/probe_runs.py: every run is that of its own start, however many go together."""

import numpy as np
import pytest
from tqdm import tqdm

import fastlanczos as fl
from fastlanczos.krylov.memory_plan import Plan
from fastlanczos.krylov.probe_runs import lanczos_runs
from fastlanczos.operators.operator import as_operator

N, STEPS = 50, 12
A = np.diag(np.linspace(-1.0, 2.0, N))


def start(index, memory):
    return np.random.default_rng(index).standard_normal(out=memory)


@pytest.mark.parametrize("lockstep", [1, 2, 3, 7])
def test_runs_come_in_order_and_are_those_of_their_starts(lockstep):
    seen = []
    with tqdm(disable=True) as bar:
        for index, iteration in lanczos_runs(as_operator(A), start, range(4, 11), STEPS, Plan("full", lockstep), bar):
            alone = fl.lanczos(A, num_steps=STEPS, v0=start(index, np.empty(N)))
            assert iteration.alpha.tobytes() == alone.alpha.tobytes()
            seen.append(index)
    assert seen == list(range(4, 11))


def test_memory_is_used_again():
    with tqdm(disable=True) as bar:
        runs = lanczos_runs(as_operator(A), start, range(6), STEPS, Plan("full", 2), bar)
        iterations = [iteration for _, iteration in runs]
    assert len({id(iteration) for iteration in iterations}) == 2
