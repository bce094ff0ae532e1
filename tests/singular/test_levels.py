"""fastlanczos.singular.levels: the same search again in what is left; here LAPACK on the rounded operator."""

import numpy as np
from cases.singular import with_values

from fastlanczos.eigenpairs.results import Eigenpairs
from fastlanczos.singular.gram import LargestEnd
from fastlanczos.singular.levels import by_levels
from fastlanczos.singular.rectangular import as_rectangular


def test_values_far_below_the_root_of_rounding_are_found():
    values = 10.0 ** -np.linspace(0, 13, 40)
    B = as_rectangular(with_values((70, 50), np.r_[values, [0.0] * 10], np.random.default_rng(0)))
    sizes = []

    def search(operator, count, start):
        sizes.append(count)
        G = np.column_stack([operator.matvec(e) for e in np.eye(50)])
        w, V = np.linalg.eigh((G + G.T) / 2.0)
        return Eigenpairs(w[-count:], V[:, -count:].T)

    found, left = by_levels(B, 43, 1e-16, LargestEnd(B), search, None)
    assert left.values.size == 0
    assert np.abs(found.values - np.r_[values, [0.0] * 3]).max() < 1e-15
    assert sizes[0] == 43
    assert 4 < len(sizes) < 20
    assert np.all(np.diff(sizes) < 0)


def test_a_search_that_finds_no_triplets_ends_it():
    B = as_rectangular(np.random.default_rng(1).standard_normal((70, 50)))
    found, left = by_levels(
        B, 3, 1e-16, LargestEnd(B), lambda operator, count, start: Eigenpairs(np.ones(count), np.eye(count, 50)), None
    )
    assert (found.values.size, left.values.size) == (0, 3)
