import numpy as np
import pytest

from fastlanczos.host import HostRun

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
