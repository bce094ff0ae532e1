import numpy as np
import pytest

from fastlanczos.eigenpairs.multiplier import Multiplier
from fastlanczos.eigenpairs.rayleigh_ritz import noise, rayleigh_ritz
from fastlanczos.operators.operator import as_operator

RNG = np.random.default_rng(0)
N = 60
D = np.linspace(-1, 2, N)


@pytest.mark.parametrize("scale", [1.0, 1e290, 1e-290])
def test_the_operator_tells_apart_the_vectors_of_an_invariant_space(scale):
    operator = as_operator(np.diag(D * scale))
    multiplier = Multiplier(operator)
    run = operator.kind.new_run(N, 8, "float64")
    run.start(RNG.normal(size=N))
    multiplier.fill(run, None, 8, type("Bar", (), {"update": lambda self, n: None})())
    # Rows 2 to 4 become mixtures, not quite orthogonal, of three eigenvectors.
    mixture = RNG.normal(size=(3, 3)) + 3 * np.eye(3)
    run.rows(8)[2:5] = mixture @ np.eye(N)[[10, 20, 59]] / np.linalg.norm(mixture)
    before = multiplier.count
    values, rotation = rayleigh_ritz(multiplier, run, range(2, 5), 2.0 * scale)
    assert multiplier.count == before + 3
    np.testing.assert_allclose(values / scale, D[[10, 20, 59]], atol=1e-14)
    vectors = rotation @ run.rows(8)
    np.testing.assert_allclose(np.abs(vectors), np.eye(N)[[10, 20, 59]], atol=1e-13)


def test_no_rows_have_no_values():
    operator = as_operator(np.eye(5))
    run = operator.kind.new_run(5, 3, "float64")
    values, rotation = rayleigh_ritz(Multiplier(operator), run, range(0), 1.0)
    assert values.size == 0
    assert rotation.shape == (0, 0)


def test_noise_grows_with_the_dimension_the_coarseness_and_the_asymmetry():
    double, single = (Multiplier(as_operator(np.eye(10, dtype=t))) for t in (np.float64, np.float32))
    large = Multiplier(as_operator(lambda v: v, 10**6))
    assert noise(double, 0.0) == pytest.approx(192 * np.finfo(float).eps)
    assert noise(single, 0.0) == pytest.approx(192 * np.finfo(np.float32).eps)
    assert noise(large, 0.0) == pytest.approx(1000 * np.finfo(float).eps)
    assert noise(double, 1e-3) == pytest.approx(1e-3)
