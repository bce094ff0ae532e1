"""fastlanczos/tracking/pictures.py: a run's figure."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from fastlanczos.tracking.measurement import Measurement
from fastlanczos.tracking.pictures import draw_run


def measurement(step):
    nodes, weights = np.array([[-0.1, 0.0, 2.0 + step], [0.0, 0.1, 2.0]]), np.full((2, 3), 1 / 3)
    return Measurement(
        step=step,
        loss=1.0,
        learning_rate=0.1,
        samples=8,
        dim=30,
        trace=1.0,
        trace_std_error=0.1,
        negative_mass=0.1,
        smallest=-0.1,
        largest=2.0 + step,
        top=np.array([2.0 + step, 1.0]),
        concentration=np.array([0.25, 0.5 + step / 100]),
        gradient_norm=1.0,
        gradient_nodes=nodes[0],
        gradient_weights=weights[0],
        nodes=nodes,
        weights=weights,
    )


def test_a_run_has_densities_ends_and_the_gradients_share():
    figure = draw_run([measurement(step) for step in (0, 5, 10)])
    densities, ends, share = figure.axes
    assert len(densities.get_lines()) == 3
    assert ends.get_lines()[0].get_ydata().tolist() == [2.0, 7.0, 12.0]
    np.testing.assert_allclose(share.get_lines()[0].get_ydata(), [0.5, 0.55, 0.6])


def test_nothing_to_draw_is_told():
    with pytest.raises(ValueError, match="no measurement to draw"):
        draw_run([])
