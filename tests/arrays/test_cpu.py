import numpy as np
import pytest

from fastlanczos.arrays.cpu import aligned_rows, as_float64, precision_of


def test_float64_vectors_are_not_copied():
    x = np.arange(5.0)
    assert as_float64(x, "x") is x


def test_narrower_floats_are_widened_exactly():
    x = np.array([0.1, 1e-4], dtype=np.float16)
    assert np.array_equal(as_float64(x, "x"), x.astype(float))


def test_strided_vectors_become_contiguous():
    assert as_float64(np.arange(10.0)[::2], "x").tolist() == [0, 2, 4, 6, 8]


def test_masked_arrays_do_not_lose_their_mask():
    with pytest.raises(TypeError, match="x is a masked array"):
        as_float64(np.ma.masked_array([1.0, 2.0], [True, False]), "x")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("columns", [1, 7, 8, 1000, 8192, 16384])
def test_rows_begin_on_cache_lines_and_not_on_the_same_sets(dtype, columns):
    rows = aligned_rows(5, columns, dtype)
    assert rows.shape == (5, columns)
    assert rows.ctypes.data % 64 == 0
    assert rows.strides[0] % 64 == 0
    assert rows.strides[0] % 65536 != 0
    rows[:] = 1.0


def test_precision_of_dtypes_by_name():
    assert precision_of(np.float32) == np.finfo(np.float32).eps
    assert precision_of(None) == precision_of(np.int64) == np.finfo(float).eps
