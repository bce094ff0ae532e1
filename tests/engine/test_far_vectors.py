"""Arithmetic of vectors and rows on the emulated GPU, beside NumPy's."""

import shutil

import fake_gpu
import numpy as np
import pytest

from fastlanczos.engine.far_vectors import FarRows, FarVector, GpuArithmetic

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")


def vectors(gpu, *values):
    on = GpuArithmetic(fake_gpu.Framework(fake_gpu.Array.empty(gpu, (1,), "float64")), len(values[0]), 6)
    return [FarVector(fake_gpu.Array.of(gpu, x), on) for x in values]


def test_vectors_have_the_arithmetic_of_numpys(gpu):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 101))
    a, b = vectors(gpu, x, y)
    for found, expected in [
        (a + b, x + y),
        (a - b, x - y),
        (2.5 * a, 2.5 * x),
        (np.float64(2.5) * a, 2.5 * x),
        (a * 0.5, 0.5 * x),
        (a / 4.0, x / 4.0),
        (a + 0.0, x),
        (a.copy(), x),
        (b.copy().combined([-1.0, 2.0, 3.0], [b, a, a]), 5.0 * x - y),
    ]:
        np.testing.assert_allclose(found.array.get(), expected, rtol=1e-15, atol=1e-15)
    assert a @ b == pytest.approx(x @ y, rel=1e-13)
    assert abs(a).max() == np.abs(x).max()
    for scale in (1e-300, 1.0, 1e300):
        assert (a * scale).norm() == pytest.approx(scale * np.linalg.norm(x), rel=1e-14)
    assert vectors(gpu, np.zeros(101))[0].norm() == 0.0


def test_rows_are_read_and_written_where_they_lie(gpu):
    V = np.random.default_rng(0).normal(size=(6, 101))
    z, new = vectors(gpu, np.linspace(1, 2, 101), np.arange(101.0))
    arithmetic = z._on
    wide = np.full((6, 104), np.nan)  # rows begin at 16 bytes
    wide[:, :101] = V
    basis = fake_gpu.Array.of(gpu, wide)
    rows = FarRows(basis, np.arange(5), arithmetic)
    assert rows.shape == (5, 101)
    np.testing.assert_array_equal(rows[3].copy().array.get(), V[3])
    np.testing.assert_array_equal(rows[[4, 0]].array().get(), V[[4, 0]])
    np.testing.assert_array_equal(rows[np.array([True, False, True, False, False])].array().get(), V[[0, 2]])
    np.testing.assert_array_equal(rows[1:3][1].copy().array.get(), V[2])
    assert rows[:0].array().shape == (0, 101)
    rows[1] = new
    np.testing.assert_array_equal(basis.get()[1, :101], np.arange(101.0))
    assert np.isnan(basis.get()[:, 101:]).all()
    weights = np.array([1.0, 0.0, -2.0])
    combined = arithmetic.of_rows(basis[:3, :101], weights)
    np.testing.assert_allclose(combined.array.get(), V[0] - 2.0 * V[2], atol=1e-14)
    narrow = fake_gpu.Array.of(gpu, V.astype(np.float32))
    np.testing.assert_allclose(arithmetic.inner(narrow, z, 2.0), 2.0 * V.astype(np.float32) @ z.array.get(), rtol=1e-12)


def test_more_than_four_terms_are_told(gpu):
    (a,) = vectors(gpu, np.ones(5))
    with pytest.raises(ValueError, match="up to four vectors"):
        a.combined([1.0] * 5, [a] * 5)
    with pytest.raises(TypeError, match="no entries to read"):
        a[0]
