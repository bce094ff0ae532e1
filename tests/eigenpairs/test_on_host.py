"""Operators on a GPU as NumPy's and scipy's: matrices copied, products carried there and back."""

import shutil

import fake_gpu
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from fastlanczos.arrays.frameworks import framework_of
from fastlanczos.eigenpairs.on_host import framework_of_problem, on_host

emulated = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")
A = np.random.default_rng(0).normal(size=(5, 5))


def test_what_is_on_the_cpu_stays_as_it_is():
    matrix = sp.csr_array(A)
    assert framework_of_problem({"A": matrix, "M": None, "v0": A[0]}) is None
    assert on_host(matrix, None, None) is matrix
    assert on_host(None, None, None) is None
    np.testing.assert_array_equal(on_host(torch.from_numpy(A), None, None), A)
    assert sp.issparse(on_host(torch.from_numpy(A).to_sparse_csr(), None, None))


@emulated
def test_a_matrix_is_copied_in_its_precision(gpu):
    for dtype in ("float64", "float32", "complex128"):
        there = fake_gpu.Array.of(gpu, A.astype(dtype))
        framework = framework_of_problem({"A": None, "M": there})
        here = on_host(there, framework, None)
        assert here.dtype == dtype
        np.testing.assert_array_equal(here, A.astype(dtype))


@emulated
def test_products_are_carried_there_and_back(gpu):
    v0 = fake_gpu.Array.of(gpu, np.ones(5, np.float32))
    framework = framework_of(v0, "v0")
    given = []

    def matvec(v):
        given.append(v)
        return fake_gpu.Array.of(gpu, A @ v.get())

    product = on_host(matvec, framework, v0)
    np.testing.assert_allclose(product(np.arange(5.0)), A @ np.arange(5.0), rtol=1e-6)
    assert isinstance(given[0], fake_gpu.Array)
    assert given[0].dtype == np.float32  # as the start vector is

    class Operator:
        shape, dtype = (5, 5), np.dtype("float64")

        def matvec(self, v):
            return matvec(v)

    linear = on_host(Operator(), framework, v0)
    assert linear.shape == (5, 5)
    np.testing.assert_allclose(linear.matvec(np.arange(5.0)), A @ np.arange(5.0), rtol=1e-15)
    assert given[-1].dtype == np.float64
