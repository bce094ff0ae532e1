import numpy as np
import pytest

from fastlanczos.eigenpairs.wanted import WHICH, Wanted

VALUES = np.array([0.5, -3.0, 2.0, -1.0, 4.0, -0.25])
MEANT = {"LA": [2.0, 4.0, 0.5], "SA": [-3.0, -1.0, -0.25], "LM": [4.0, -3.0, 2.0], "SM": [-0.25, 0.5, -1.0]}


@pytest.mark.parametrize("which", MEANT)
def test_the_wanted_values_in_ascending_order(which):
    chosen = Wanted(which, 3).select(VALUES)
    np.testing.assert_array_equal(VALUES[chosen], np.sort(MEANT[which]))


@pytest.mark.parametrize(("k", "meant"), [(1, [4.0]), (2, [-3.0, 4.0]), (3, [-3.0, 2.0, 4.0]), (4, [-3, -1, 2, 4])])
def test_both_ends_have_one_more_at_the_high_one(k, meant):
    np.testing.assert_array_equal(VALUES[Wanted("BE", k).select(VALUES)], meant)
    ends = Wanted("BE", k).ends()
    assert sum(end.k for end in ends) == k
    assert ends[0] == Wanted("LA", k - k // 2)
    assert ends[1:] == ([Wanted("SA", k // 2)] if k > 1 else [])


@pytest.mark.parametrize("which", ["LM", "SM", "LA", "SA"])
def test_other_searches_have_one_end(which):
    assert Wanted(which, 3).ends() == [Wanted(which, 3)]


@pytest.mark.parametrize("which", [which for which in WHICH if which != "SM"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_what_lies_beyond_the_limits_comes_before_the_last_of_the_wanted(which, count):
    wanted = Wanted(which, count)
    low, high = wanted.limits(VALUES, count)
    for new in (-5.0, -2.9, -1.1, 0.0, 1.9, 3.0, 5.0):
        joined = np.append(VALUES, new)
        enters = VALUES.size in wanted.select(joined)
        assert enters == (new < low or new > high)
