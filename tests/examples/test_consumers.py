"""examples/consumers/: programs on other libraries, where these are installed."""

import re

import numpy as np
import pytest
from cases.programs import run


def test_scikit_learn():
    pytest.importorskip("sklearn")
    printed = run("examples/consumers/scikit_learn.py")
    assert float(re.search(r"agreement with the digits: ([\d.]+)", printed)[1]) > 0.6
    assert float(re.search(r"differ from scikit-learn's by (\S+)", printed)[1]) < 1e-10


def test_a_gaussian_process_has_the_optimum_of_cholesky():
    pytest.importorskip("torch")
    printed = run("examples/consumers/gaussian_process.py", "--points", 300, "--cholesky")
    ours, dense = (np.array(eval(text)) for text in re.findall(r"\[.*?\]", printed))
    assert np.abs(ours / dense - 1).max() < 0.05


def test_configuration_interaction():
    pytest.importorskip("pyscf")
    printed = run("examples/consumers/configuration_interaction.py")
    energies = np.array(eval(re.search(r"\[.*?\]", printed)[0]))
    assert abs(energies[1] - energies[2]) < 1e-7
    assert int(re.search(r"(\d+) products", printed)[1]) <= 168


def test_scipy_users():
    printed = run("examples/consumers/scipy_users.py")
    assert float(re.search(r"heat: differ by (\S+)", printed)[1]) < 1e-8
    assert float(re.search(r"residuals (\S+),", printed)[1]) < 1e-9
