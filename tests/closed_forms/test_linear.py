"""fastlanczos/closed_forms/linear.py: against what autograd derives by itself."""

import pytest

torch = pytest.importorskip("torch")

from cases.closed_forms import check, randn  # noqa: E402

from fastlanczos.closed_forms.linear import linear  # noqa: E402

F = torch.nn.functional

CASES = {
    "of two dimensions": (
        lambda vectors: lambda x, w, b: linear(x, w, b, vectors),
        F.linear,
        [randn(5, 4), randn(3, 4), randn(3)],
    ),
    "without bias, of three dimensions": (
        lambda vectors: lambda x, w: linear(x, w, None, vectors),
        F.linear,
        [randn(2, 5, 4), randn(3, 4)],
    ),
}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_products_are_those_of_autograd(name, several):
    check(*CASES[name], several)


@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
def test_products_for_some_of_the_inputs_only(which):
    check(*CASES["of two dimensions"], False, which)
