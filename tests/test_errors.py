import pickle
import warnings

import pytest

import fastlanczos as fl
from fastlanczos.errors import warn_if_asymmetric


@pytest.mark.parametrize("precision", [2.0**-52, 2.0**-23])
def test_warned_above_a_hundred_times_the_precision(precision):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_asymmetric(99 * precision, precision)
    with pytest.warns(fl.AsymmetryWarning, match=f"their precision explains only {precision:.0e}"):
        warn_if_asymmetric(101 * precision, precision)


def test_not_finite_is_a_value_error_that_says_where():
    error = fl.NonFiniteError("message", step=3, count=2)
    assert isinstance(error, ValueError)
    assert (str(error), error.step, error.count, error.partial) == ("message", 3, 2, None)


def test_not_finite_survives_the_way_from_another_process():
    error = pickle.loads(pickle.dumps(fl.NonFiniteError("message", step=3, count=2)))
    assert (type(error), str(error), error.step, error.count) == (fl.NonFiniteError, "message", 3, 2)
