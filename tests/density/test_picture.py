"""fastlanczos/density/picture.py: what a plot shows."""

import numpy as np
import pytest

import fastlanczos as fl

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

RNG = np.random.default_rng(0)
DENSITY = fl.SpectralDensity(np.sort(RNG.normal(size=(4, 6))), RNG.dirichlet(np.ones(6), 4), 100)


def test_it_draws_line_and_band_on_a_log_scale():
    ax = DENSITY.plot(color="red", label="mine")
    assert ax.get_yscale() == "log"
    assert ax.get_lines()[0].get_label() == "mine"
    assert len(ax.collections) == 1
    low, high = ax.get_ylim()
    assert 0 < low < high < 1e6
    assert DENSITY.plot(ax, level=None) is ax
    assert len(ax.collections) == 1


def test_an_outlier_of_one_eigenvalue_is_drawn_at_its_height():
    d = np.r_[np.zeros(999), 1000.0]
    density = fl.SpectralDensity.from_eigenvalues(d)
    (line,) = density.plot().get_lines()
    t, heights = line.get_data()
    peak = 1e-3 / (density.sigma * np.sqrt(2 * np.pi))
    assert heights[t > 500].max() == pytest.approx(peak, rel=0.05)


def test_a_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'fastlanczos\[plot\]'"):
        DENSITY.plot()
