"""What a growing search has found, in the rows of its space."""

import numpy as np

from fastlanczos.eigenpairs.chain import Chain
from fastlanczos.eigenpairs.criteria import Criteria
from fastlanczos.eigenpairs.found import Found
from fastlanczos.eigenpairs.wanted import Wanted


def chain(values):
    values = np.array(values, dtype=float)
    return Chain(values, np.eye(values.size), 1e-9 * np.arange(values.size), np.zeros(values.size), (0.0, 0.0))


def found(largest=None, k=2):
    criteria = Criteria(1e-12, lambda norm: 0.0, largest)
    criteria.norm = 1.0
    return Found(Wanted("LA", k), criteria)


def test_the_best_are_kept_as_combinations_of_all_rows():
    pairs = found()
    pairs.merge(chain([1.0, 5.0, 3.0]), np.array([1, 2]), first=0, steps=3)
    assert pairs.limits() == (-np.inf, 3.0)
    pairs.merge(chain([4.0, 2.0]), np.array([0, 1]), first=3, steps=5)
    np.testing.assert_array_equal(pairs.values, [5.0, 4.0])
    np.testing.assert_array_equal(pairs.combinations(6), np.eye(6)[[1, 3]])
    np.testing.assert_array_equal(pairs.estimates, [1e-9, 0.0])
    np.testing.assert_array_equal(pairs.ascending(), [1, 0])
    np.testing.assert_array_equal(pairs.beyond(np.array([4.0 + 1e-13, 4.1])), [False, True])
    pairs.are_the_first_rows()
    np.testing.assert_array_equal(pairs.combinations(3), np.eye(3)[:2])


def test_those_that_dwarf_the_others_stay_out_of_their_way():
    pairs = found(largest=1e6, k=1)
    pairs.merge(chain([-1e9, 2.0, 5.0]), np.array([0, 1, 2]), first=0, steps=3)
    np.testing.assert_array_equal(pairs.values, [-1e9, 5.0])
