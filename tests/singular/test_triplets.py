"""fastlanczos.singular.triplets: Rayleigh-Ritz without squares."""

import numpy as np
from cases.singular import with_values

from fastlanczos.singular.rectangular import as_rectangular
from fastlanczos.singular.triplets import Triplets, rayleigh_ritz

RNG = np.random.default_rng(0)


def test_an_invariant_space_gives_its_triplets():
    values = np.array([4.0, 2.0, 1e-9, 1e-12])
    A = with_values((30, 12), np.r_[values, [0.5] * 8], RNG)
    Vh = np.linalg.svd(A)[2]
    B = as_rectangular(A)
    mixed = Vh[[0, 1, -2, -1]].T @ np.linalg.qr(RNG.standard_normal((4, 4)))[0]
    found = rayleigh_ritz(B, mixed, Triplets.none(B), 0.0)
    assert np.abs(found.values - values).max() < 1e-14
    assert B.count == 8


def test_left_vectors_of_zeros_are_not_seen_by_the_adjoint():
    A = with_values((30, 12), [3.0, 2.0, 1.0], RNG)
    B = as_rectangular(A)
    V = np.linalg.svd(A)[2].T
    first = rayleigh_ritz(B, V[:, :2], Triplets.none(B), 0.0)
    rest = rayleigh_ritz(B, V[:, 2:6], first, 3.0)
    both = first.joined(rest)
    assert np.abs(both.values - [3.0, 2.0, 1.0, 0.0, 0.0, 0.0]).max() < 1e-14
    assert np.abs(A.T @ both.U - both.V * both.values).max() < 1e-13
    assert np.abs(both.U.T @ both.U - np.eye(6)).max() < 1e-13
    assert both.hold(B, 0.0, 3.0).all()


def test_what_is_no_singular_vector_does_not_hold():
    A = RNG.standard_normal((30, 12))
    B = as_rectangular(A)
    found = rayleigh_ritz(B, np.eye(12)[:, :2], Triplets.none(B), 0.0)
    assert not found.hold(B, 1e-3, 10.0).any()
    assert found.hold(B, 10.0, 10.0).all()
    zero = Triplets.of_zero(as_rectangular(np.zeros((5, 3))), 2)
    assert zero.values.tolist() == [0.0, 0.0]
