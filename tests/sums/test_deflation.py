"""fastlanczos/sums/deflation.py: what is taken out, and when."""

import numpy as np
import pytest
from cases.sums import kernel, with_eigenvalues
from tqdm import tqdm

from fastlanczos.operators.operator import as_operator
from fastlanczos.probes.draw import seed_sequence
from fastlanczos.sums import deflation as module
from fastlanczos.sums.deflation import Deflation, deflation, deflation_that_pays
from fastlanczos.sums.functions import as_function

SEEDS = seed_sequence(0)
BAR = tqdm(disable=True)
FLAT = with_eigenvalues(np.linspace(1.0, 3.0, 200))


def test_eigenvectors_and_their_share_of_the_trace_are_exact():
    A = kernel()
    d = deflation(as_operator(A, None, v0=None), as_function("log"), 60, SEEDS, BAR)
    assert 3 <= d.rank < 60
    assert np.abs(d.vectors @ d.vectors.T - np.eye(d.rank)).max() < 1e-12
    exact = np.log(np.array([v @ A @ v for v in d.vectors]))
    np.testing.assert_allclose(np.sort(d.values), np.sort(exact), rtol=1e-11)
    assert d.trace == pytest.approx(exact.sum(), rel=1e-11)


def test_probes_are_on_the_complement():
    d = deflation(as_operator(kernel(), None, v0=None), as_function("log"), 60, SEEDS, BAR)
    w = d.start(1, SEEDS)
    assert np.abs(d.vectors @ w).max() < 1e-12
    assert w @ w == pytest.approx(300 - d.rank, rel=1e-13)
    v = np.arange(300.0)
    assert np.abs(d.vectors @ d.complement(v)).max() < 1e-10
    assert (Deflation.none(300).complement(v) == v).all()


@pytest.mark.parametrize("fun", [None, "log"])
def test_a_deflation_is_chosen_where_it_pays(fun):
    f = as_function(fun)
    paying, run = deflation_that_pays(as_operator(kernel(), None, v0=None), f, 40, 40, SEEDS, BAR)
    assert run is None
    assert paying.rank > 0
    # The trace of A itself is deflated by the very run that told; f(A) by a second one, with a basis.
    assert paying.num_matvecs <= (40 if fun is None else 80)
    none, run = deflation_that_pays(as_operator(FLAT, None, v0=None), f, 40, 70, SEEDS, BAR)
    assert none.rank == 0
    assert run.num_steps == 40
    assert run.reorthogonalize == ("full" if fun is None else "none")


@pytest.mark.parametrize("fun", [None, "log"])
def test_what_does_not_fit_is_not_chosen(fun, monkeypatch):
    plan = module.plan_memory

    def small(operator, number, steps, reorthogonalize, storage, max_memory):
        return plan(operator, number, steps, reorthogonalize, storage, 10 * 8 * operator.dim)

    monkeypatch.setattr(module, "plan_memory", small)
    operator = as_operator(kernel(), None, v0=None)
    none, run = deflation_that_pays(operator, as_function(fun), 40, 40, SEEDS, BAR)
    assert none.rank == 0
    assert run.reorthogonalize == "none"
    with pytest.raises(MemoryError):
        deflation(operator, as_function(fun), 40, SEEDS, BAR)
