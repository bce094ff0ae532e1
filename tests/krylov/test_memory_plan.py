import tracemalloc

import numpy as np
import pytest
import scipy.sparse

import fastlanczos as fl
from fastlanczos.engine import kinds
from fastlanczos.krylov import memory_plan as plan
from fastlanczos.operators.operator import as_operator

N = 4000


class Blocks:
    shape = (N, N)
    dtype = np.dtype(float)
    d = np.linspace(0, 1, N)[:, None]

    def matvec(self, v):
        return self.d[:, 0] * v

    def matmat(self, X):
        return self.d * X


OPERATORS = {
    "block": as_operator(Blocks()),
    "dense": as_operator(np.eye(N, dtype=np.float32)),
    "sparse": as_operator(scipy.sparse.eye_array(N, format="csr")),
    "callable": as_operator(lambda v: v, N),
}


def make(operator, max_memory, *, probes=10, steps=50, reorthogonalize="auto", dtype="float64"):
    return plan.plan_memory(OPERATORS[operator], probes, steps, reorthogonalize, dtype, max_memory)


def test_probes_go_together_where_that_saves_products():
    assert make("block", 10**9) == plan.Plan("full", 10)
    assert make("dense", 10**9) == plan.Plan("full", 10)
    assert make("sparse", 10**9) == plan.Plan("full", 1)  # reads less than the basis: nothing to save
    assert make("callable", 10**9) == plan.Plan("full", 1)
    assert make("callable", 10**9, reorthogonalize="none") == plan.Plan("none", 1)


def test_an_operator_may_say_that_blocks_save_nothing():
    class OneByOne(Blocks):
        blocks_pay = False

    planned = plan.plan_memory(as_operator(OneByOne()), 10, 50, "auto", "float64", 10**9)
    assert planned == plan.Plan("full", 1)
    assert planned.fitting > 10


def test_probes_are_split_into_equal_groups_that_fit():
    one = N * 8 * (50 + 5)
    assert make("block", 10 * one).lockstep == 10
    assert make("block", 10 * one - 1).lockstep == 5  # not nine and one
    assert make("block", 4 * one).lockstep == 4  # 4, 4, 2
    assert make("block", one) == plan.Plan("full", 1)
    assert make("block", one - 1).reorthogonalize == "none"
    assert make("block", one - 1, dtype="float32").reorthogonalize == "full"
    assert make("block", 10 * one, reorthogonalize="none") == plan.Plan("none", 10)
    assert make("block", 2 * N * 8 * 6) == plan.Plan("none", 2)
    assert make("block", 1) == plan.Plan("none", 1)


def test_a_basis_of_float32_comes_before_none_where_the_storage_is_open():
    wide, narrow = N * 8 * (50 + 5), N * (4 * 50 + 8 * 7)
    assert make("block", wide, dtype=None) == plan.Plan("full", 1, basis_dtype="float64")
    assert make("block", wide - 1, dtype=None) == plan.Plan("full", 1, basis_dtype="float32")
    assert make("block", narrow, dtype=None).basis_dtype == "float32"
    with pytest.raises(MemoryError, match=r"basis_dtype=.float32"):  # what is demanded is demanded in float64
        make("block", wide - 1, dtype=None, reorthogonalize="full")
    assert make("block", narrow - 1, dtype=None).reorthogonalize == "none"
    d = fl.spectral_density(Blocks(), num_probes=1, num_steps=50, seed=0, max_memory=wide - 1)
    assert (d.info["reorthogonalize"], d.info["basis_dtype"]) == ("full", "float32")


def test_without_a_limit_half_of_what_is_free_is_taken(monkeypatch):
    one = N * 8 * (50 + 5)
    monkeypatch.setattr(kinds, "available_memory", lambda: 6 * one)
    assert make("block", None) == plan.Plan("full", 3)  # 3, 3, 3, 1
    monkeypatch.setattr(kinds, "available_memory", lambda: 2 * one - 2)
    assert make("block", None).reorthogonalize == "none"
    assert make("block", None, reorthogonalize="full") == plan.Plan("full", 1)  # demanded, and it does fit
    monkeypatch.setattr(kinds, "available_memory", lambda: one - 1)
    with pytest.raises(MemoryError, match=r"1\.68 MiB in float64.*there are 1\.68 MiB.*float32.*num_steps=49.*none"):
        make("block", None, reorthogonalize="full")


@pytest.mark.parametrize("max_memory", [2 * 10**5, 3 * 10**6, 8 * 10**6, 3 * 10**7])
@pytest.mark.parametrize("operator", ["block", "dense"])
def test_a_run_keeps_within_its_plan(operator, max_memory):
    A = Blocks() if operator == "block" else np.diag(np.linspace(0, 1, N))
    fl.spectral_density(A, num_probes=1, num_steps=3, seed=0)
    tracemalloc.start()
    try:
        d = fl.spectral_density(A, num_probes=10, num_steps=50, seed=0, max_memory=max_memory)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Beside the plan: the probes' start vectors, and the rules.
    assert peak < max_memory + 10 * N * 8 + 200_000
    assert d.info["reorthogonalize"] == ("full" if max_memory > 2 * 10**6 else "none")
    assert 1 <= d.info["lockstep"] <= 10
