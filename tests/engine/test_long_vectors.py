"""Rows of long vectors on the emulated GPU and in NumPy: the same answers."""

import shutil

import fake_gpu
import numpy as np
import pytest

from fastlanczos.engine.far_vectors import FarRows, GpuArithmetic
from fastlanczos.engine.long_vectors import count_not_finite, inner_products, norm, stacked, turn, without

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")
RNG = np.random.default_rng(0)


def far(gpu, values):
    on = GpuArithmetic(
        fake_gpu.Framework(fake_gpu.Array.empty(gpu, (1,), "float64")), values.shape[1], 9, values.dtype.name
    )
    return FarRows(fake_gpu.Array.of(gpu, values), np.arange(len(values)), on)


def numbers(shape, dtype):
    values = RNG.normal(size=shape)
    return values if dtype == "float64" else values + 1j * RNG.normal(size=shape)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_rows_on_a_gpu_do_what_numpys_do(gpu, dtype):
    V, Z = numbers((9, 101), dtype), numbers((3, 101), dtype)
    C, W = numbers((9, 3), dtype), numbers((4, 9), dtype)
    rows, block = far(gpu, V), far(gpu, Z)
    close = {"rtol": 1e-13, "atol": 1e-13}
    np.testing.assert_allclose(inner_products(rows, block), inner_products(V, Z), **close)
    np.testing.assert_allclose(inner_products(V, Z), V.conj() @ Z.T, **close)
    np.testing.assert_allclose(without(block, C, rows).array().get(), Z - C.T @ V, **close)
    np.testing.assert_allclose((W @ rows).array().get(), W @ V, **close)
    np.testing.assert_allclose((W[0] @ rows).array.get(), W[0] @ V, **close)
    # Some of the rows, in any order: as many kernels as there are stretches.
    some = [7, 2, 3]
    np.testing.assert_allclose(inner_products(rows[some], block), inner_products(V[some], Z), **close)
    np.testing.assert_allclose(without(block, C[some], rows[some]).array().get(), Z - C[some].T @ V[some], **close)
    np.testing.assert_allclose(without(block, C[:0], rows[:0]).array().get(), Z, **close)
    np.testing.assert_array_equal((W[:, :0] @ rows[:0]).array().get(), np.zeros((4, 101)))
    np.testing.assert_allclose((block / np.array([[2.0], [4.0], [0.5]])).array().get(), Z / [[2], [4], [0.5]], **close)
    np.testing.assert_array_equal(stacked([rows[4], block[1]]).array().get(), np.stack([V[4], Z[1]]))
    np.testing.assert_allclose([norm(x) for x in block], np.linalg.norm(Z, axis=1), rtol=1e-14)
    np.testing.assert_allclose([norm(1e300 * x) for x in Z], 1e300 * np.linalg.norm(Z, axis=1), rtol=1e-14)
    assert block[0].conj() @ block[1] == pytest.approx(Z[0].conj() @ Z[1], rel=1e-13)
    parts = np.abs(Z.view("float64")).max(axis=1)
    np.testing.assert_array_equal(abs(block).max(axis=1), parts)
    turn(rows, W)
    turned = V.copy()
    turn(turned, W)
    np.testing.assert_allclose(turned, np.vstack([W @ V, V[4:]]), **close)
    np.testing.assert_allclose(rows.array().get(), turned, **close)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_entries_that_are_not_finite_are_counted(gpu, dtype):
    Z = numbers((3, 50), dtype)
    assert count_not_finite(far(gpu, Z)) == count_not_finite(Z) == 0
    Z[1, 7], Z[2, [3, 40]] = np.nan, np.inf
    assert count_not_finite(far(gpu, Z)) == count_not_finite(Z) == 3


def test_more_rows_than_shared_memory_holds_are_told(gpu):
    gpu.configure(shared_bytes=2048)
    V = far(gpu, numbers((200, 4), "complex128"))
    with pytest.raises(ValueError, match="smaller ncv"):
        turn(V, np.eye(200, dtype=complex))
