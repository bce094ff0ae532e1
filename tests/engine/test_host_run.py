import os
import subprocess
import sys

import numpy as np
import pytest
from cases.recurrence import orthogonality, restarted

import fastlanczos as fl
from fastlanczos.engine.host_run import HostRun

RNG = np.random.default_rng(0)
N = 50
D = RNG.normal(size=N)


def run(storage="float64", steps=0):
    r = HostRun(N, 12, storage)
    r.start(RNG.normal(size=N))
    for _ in range(steps):
        assert r.advance(r.product(D * r.vector, "the product"))
    return r


@pytest.mark.parametrize("storage", ["float64", "float32", None])
def test_a_snapshot_shares_no_memory_and_goes_on_to_the_same_bits(storage):
    whole = run(storage, steps=5)
    snapshot = whole.snapshot()
    other = HostRun(N, 12, storage)
    other.take_up(snapshot)
    while not whole.finished:
        whole.advance(D * whole.vector)
    while not other.finished:
        other.advance(D * other.vector)
    assert whole.alpha.tobytes() == other.alpha.tobytes()


def test_a_product_that_is_not_finite_changes_nothing_and_is_counted():
    r = run(steps=3)
    before = r.vector.copy()
    bad = D * r.vector
    bad[[2, 5, 7]] = np.nan, np.inf, -np.inf
    assert not r.advance(bad)
    assert r.count_not_finite(bad) == (3, " (1 NaN, 2 infinite)")
    assert r.launched == r.steps == 3
    np.testing.assert_array_equal(r.vector, before)


def test_a_block_of_columns_becomes_contiguous_rows():
    block = RNG.normal(size=(N, 3)).astype(np.float32)
    rows = run().block(block, "the block", (N, 3))
    assert rows.flags.c_contiguous
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows, block.T)
    with pytest.raises(ValueError, match=r"the block has shape \(50, 3\); want \(50, 4\)"):
        run().block(block, "the block", (N, 4))


def test_rows_are_the_basis_itself():
    r = run(steps=4)
    assert np.shares_memory(r.rows(4), r.basis)
    assert run(None, steps=4).rows(4) is None


SPREAD = {
    "uniform": np.linspace(-1, 1, 3001),
    "bulk 1e-6 + outliers": np.r_[np.linspace(1, 100, 10), 1e-6 * RNG.normal(size=2991)],
    "huge": 1e290 * RNG.normal(size=3001),
    "tiny": 1e-290 * RNG.normal(size=3001),
}


@pytest.mark.parametrize("name", SPREAD)
def test_rows_stay_orthonormal_and_project_the_operator_over_restarts(name):
    d = SPREAD[name]
    r = restarted(d, 30, 11, restarts=25)
    V, norm, unit = r.rows(30), np.abs(d).max(), 2.0**r.exponent
    assert orthogonality(V) < 1e-13
    T = r.projected() * (unit / norm)
    np.testing.assert_allclose(T, (V * (d / norm)) @ V.T, atol=1e-13)
    rest = V * (d / norm) - T @ V
    assert np.abs(rest[:-1]).max() < 1e-13  # only the last row leaves the space
    assert r.remainder * unit / norm == pytest.approx(np.linalg.norm(rest[-1]), rel=1e-8, abs=1e-14)


def test_the_rows_of_a_restart_are_the_combinations_asked_for():
    r = run(steps=9)
    rotation = np.linalg.qr(RNG.normal(size=(9, 9)))[0][:4].copy()
    expected = rotation @ r.rows(9)
    r.restart(rotation, np.arange(4.0), np.ones(4), 5.0, 0)
    np.testing.assert_allclose(r.rows(4), expected, atol=1e-15)
    np.testing.assert_array_equal(r.projected(), np.diag(np.arange(4.0)))
    assert np.abs(r.rows(4) @ r.vector).max() < 0.1
    np.testing.assert_allclose(np.linalg.norm(r.vector), 1.0, rtol=1e-14)


def test_a_restart_has_the_same_bits_for_any_number_of_threads():
    before, bits = fl.get_num_threads(), set()
    try:
        for threads in (1, 2, 5):
            fl.set_num_threads(threads)
            r = restarted(np.linspace(-1, 1, 40_000), 20, 9, restarts=3)
            bits.add(r.rows(20).tobytes() + r.projected().tobytes())
    finally:
        fl.set_num_threads(before)
    assert len(bits) == 1


@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_other_instruction_sets_restart_as_well(isa):
    code = (
        "import numpy as np; from cases.recurrence import orthogonality, restarted;"
        "r = restarted(np.linspace(-1, 1, 3001), 30, 11, restarts=25); print(orthogonality(r.rows(30)))"
    )
    environment = os.environ | {"FASTLANCZOS_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    if "FASTLANCZOS_ISA" in done.stderr:
        pytest.skip(f"{isa} is not there on this machine")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-13


def test_a_fresh_vector_is_orthogonal_to_the_rows_and_one_in_their_span_is_refused():
    r = run(steps=6)
    assert not r.renew(np.arange(1.0, 7.0) @ r.rows(6))
    assert r.renew(RNG.normal(size=N))
    assert np.abs(r.rows(6) @ r.vector).max() < 1e-14


def test_inner_products_of_long_vectors_are_exact_to_rounding():
    n = 600_000
    r = HostRun(n, 2, "float64")
    x = np.random.default_rng(0).uniform(0.5, 1.5, n)
    r.start(x)
    r.advance(r.product(r.vector * 1.0, "the product"))
    (found,) = r.inner(1, r.basis[0])
    assert abs(found - 1.0) < 1e-14  # one after the other, the products' sum is off by 1e-12
