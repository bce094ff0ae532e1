"""`svds` of matrices on the emulated GPU: iterated with there, and answers that lie there."""

import shutil

import fake_gpu
import numpy as np
import pytest
import scipy.linalg
from cases.singular import check, with_values

import fastlanczos as fl

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")


def svds(gpu, A, k, **options):
    u, s, vh = fl.svds(fake_gpu.Array.of(gpu, A), k, **options)
    assert all(isinstance(x, fake_gpu.Array) for x in (u, s, vh))
    return u.get(), s.get(), vh.get()


@pytest.mark.parametrize("shape", [(400, 300), (300, 400)])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_a_matrix_on_the_gpu(gpu, shape, dtype):
    rng = np.random.default_rng(0)
    A = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype == "complex128" else 0.0)
    launches = gpu.launches
    check(A, svds(gpu, A, 4, ncv=60), scipy.linalg.svdvals(A)[:4])
    assert (gpu.launches > launches) == (dtype == "float64")


def test_centred_and_level_by_level(gpu):
    rng = np.random.default_rng(1)
    A = rng.random((400, 300)) + 10.0 * rng.random(300)
    centred = A - A.mean(axis=0)
    check(centred, svds(gpu, A, 3, center=True, ncv=60), scipy.linalg.svdvals(centred)[:3], tol=1e-13)
    steep = with_values((400, 300), 10.0 ** -np.linspace(0, 11, 300), rng)
    check(steep, svds(gpu, steep, 200, ncv=280), scipy.linalg.svdvals(steep)[:200])
    A = rng.standard_normal((400, 300)) * 1e180
    check(A, svds(gpu, A, 2, ncv=60), scipy.linalg.svdvals(A)[:2])
