import dataclasses

import numpy as np
import pytest

from fastlanczos.eigenpairs.results import Eigenpairs, EigshState, NotConverged


def test_a_state_says_how_far_it_is_and_does_not_change():
    state = EigshState(12, 1, 1, np.array([1.0, 2.0]), np.array([1e-3, 1e-15]))
    assert repr(state) == "EigshState(1 of 2 converged, 1 restarts, 12 products)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.num_products = 13


def test_what_has_converged_rides_on_the_exception():
    pairs = Eigenpairs(np.array([1.0]), np.eye(1, 5))
    error = NotConverged("3 restarts were not enough", pairs)
    assert error.pairs is pairs
    assert str(error) == "3 restarts were not enough"
