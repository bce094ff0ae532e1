"""fastlanczos/sums/functions.py: where functions are defined, and what is said where they are not."""

import numpy as np
import pytest

from fastlanczos.sums.functions import as_function

X = np.array([0.5, 1.0, 4.0])
W = np.array([0.25, 0.25, 0.5])


@pytest.mark.parametrize(
    ("fun", "expected"),
    [
        (None, X),
        ("identity", X),
        ("log", np.log(X)),
        ("exp", np.exp(X)),
        ("sqrt", np.sqrt(X)),
        ("inv", 1 / X),
        ("inv_sqrt", X**-0.5),
        ("sign", np.ones(3)),
        (("power", 3), X**3),
        (("power", -2), X**-2.0),
        (("power", 0.3), X**0.3),
        (np.tanh, np.tanh(X)),
    ],
)
def test_names_powers_and_callables(fun, expected):
    f = as_function(fun)
    assert np.allclose(f.at(X, W, 10), expected, rtol=1e-15)
    assert f.is_identity is (fun in (None, "identity"))


def test_integer_powers_take_negative_numbers():
    assert np.array_equal(as_function(("power", 3)).at(np.array([-2.0, 1.0]), np.ones(2), 2), [-8.0, 1.0])
    assert as_function(("power", 1)).is_identity


@pytest.mark.parametrize(
    ("fun", "nodes", "message"),
    [
        ("log", [-0.3, 1.0], "log needs a positive definite operator, but the smallest node is -0.3, with weight 0.5"),
        ("log", [1e-17, 1.0], "log is singular at an eigenvalue that is zero to rounding: node 1e-17, with weight 0.5"),
        ("inv", [-1.0, 1e-18, 1.0], "inv is singular at an eigenvalue that is zero to rounding"),
        ("sqrt", [-0.1, 1.0], "sqrt needs an operator without negative eigenvalues, but the smallest node is -0.1"),
        (("power", -0.5), [-0.1, 1.0], "power -0.5 needs a positive definite operator"),
        (lambda x: np.log(x), [-1.0, 2.0], "fun returned nan at the point -1"),
        (lambda x: 1 / x, [0.0, 2.0], "fun returned inf at the point 0, which is zero to rounding"),
        (
            lambda x: 1.0,
            [1.0, 2.0],
            r"fun must be vectorized: for points of shape \(2,\) it returned an array of shape",
        ),
    ],
)
def test_where_a_function_is_not_defined_the_node_is_named(fun, nodes, message):
    with pytest.raises(ValueError, match=message):
        as_function(fun).at(np.array(nodes), np.full(len(nodes), 0.5), 10)


def test_complex_results_are_refused():
    with pytest.raises(TypeError, match="fun must return real numbers, got dtype complex128"):
        as_function(lambda x: x + 1j).at(X, W, 10)


def test_nodes_without_weight_do_not_count():
    assert np.array_equal(as_function("log").at(np.array([-1.0, 1.0]), np.array([0.0, 1.0]), 10), [0.0, 0.0])


def test_the_square_root_of_zero_to_rounding_is_zero():
    assert np.array_equal(as_function("sqrt").at(np.array([-1e-17, 1.0]), np.ones(2), 10), [0.0, 1.0])


@pytest.mark.parametrize("fun", ["cos", ("power",), ("root", 2), 3])
def test_what_is_no_function_is_told(fun):
    with pytest.raises(ValueError, match="fun must be a vectorized callable, one of identity, exp"):
        as_function(fun)
