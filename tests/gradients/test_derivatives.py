"""f' by name, and divided differences that do not cancel."""

import numpy as np
import pytest
import torch
from cases.gradients import named

from fastlanczos.gradients.derivatives import derivative_of, divided_differences, function_of

NAMES = ["identity", "exp", "log", "sqrt", "inv", "inv_sqrt", ("power", 2), ("power", 1.7), ("power", -2), ("power", 1)]


@pytest.mark.parametrize("fun", [*NAMES, torch.tanh], ids=named)
def test_derivatives_are_those_of_differences(fun):
    x, h = np.linspace(0.5, 3.0, 7), 1e-6
    f, slope = function_of(fun), derivative_of(fun)
    assert np.allclose(slope.call(x), (f.call(x + h) - f.call(x - h)) / (2 * h), rtol=1e-8)


@pytest.mark.parametrize("fun", ["exp", "log", "sqrt", "inv", torch.tanh], ids=named)
@pytest.mark.parametrize("gap", [0.0, 1e-14, 1e-10, 1e-6, 1e-3, 0.1, 2.0])
def test_divided_differences_to_rounding(fun, gap):
    mpmath = pytest.importorskip("mpmath")
    x = np.array([1e-3, 0.7, 3.0])
    y = x * (1 + gap)
    call = {"exp": mpmath.exp, "log": mpmath.log, "sqrt": mpmath.sqrt, "inv": lambda z: 1 / z}.get(fun, mpmath.tanh)
    found = divided_differences(function_of(fun), derivative_of(fun), x, y)
    with mpmath.workdps(50):
        for i, a in enumerate(x):
            for j, b in enumerate(y):
                a_, b_ = mpmath.mpf(float(a)), mpmath.mpf(float(b))
                true = (call(a_) - call(b_)) / (a_ - b_) if a_ != b_ else mpmath.diff(call, a_)
                assert abs(found[i, j] - float(true)) < 1e-11 * abs(float(true)), (a, b)


def test_functions_of_arrays_have_none():
    assert function_of(np.log).call(np.ones(2)).tolist() == [0.0, 0.0]
    with pytest.raises(TypeError, match="derivative of fun"):
        derivative_of(np.log)
    with pytest.raises(ValueError, match="fun must be"):
        derivative_of("logarithm")
    with pytest.raises(ValueError, match="fun must be"):
        derivative_of(("root", 2))
