import numpy as np
import pytest

import fastlanczos as fl

D = np.linspace(-3.0, 5.0, 70_001)
R = fl.lanczos(lambda v: D * v, 70_001, 12, seed=0)


def test_tridiagonal_is_A_in_the_basis():
    np.testing.assert_allclose(R.tridiagonal(), (R.basis * D) @ R.basis.T, atol=1e-14 * 5)


@pytest.mark.parametrize("basis_dtype", ["float64", "float32"])
def test_ritz_vectors_are_the_basis_times_the_eigenvectors_of_T(basis_dtype):
    r = fl.lanczos(lambda v: D * v, 70_001, 12, seed=0, basis_dtype=basis_dtype)
    values, vectors = r.eigh()
    expected, S = np.linalg.eigh(r.tridiagonal())
    np.testing.assert_allclose(values, expected, atol=1e-14 * 5)
    np.testing.assert_allclose(np.abs(vectors), np.abs(r.basis.T.astype(float) @ S), atol=1e-13)
    assert vectors.dtype == np.float64


def test_quadrature_nodes_are_the_ritz_values():
    np.testing.assert_allclose(R.quadrature()[0], R.eigh()[0], atol=1e-14 * 5)


def test_results_do_not_change():
    with pytest.raises(ValueError, match="read-only"):
        R.alpha[0] = 1
    with pytest.raises(AttributeError):
        R.alpha = None


def test_repr_is_short_and_says_what_counts():
    text = repr(R)
    assert "num_steps=12" in text
    assert "basis (12, 70001) float64" in text
    assert "asymmetry=" in text
    assert len(text) < 200
