"""fastlanczos/closed_forms/batch_norm.py: against what autograd derives by itself."""

import pytest

torch = pytest.importorskip("torch")

from cases.closed_forms import check, randn  # noqa: E402

from fastlanczos.closed_forms.batch_norm import batch_norm  # noqa: E402

F = torch.nn.functional

CASES = {
    "of images": (
        lambda vectors: lambda x, w, b: batch_norm(x, w, b, None, None, 1e-5, vectors),
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        [randn(6, 3, 4, 2), randn(3), randn(3)],
    ),
    "of vectors": (
        lambda vectors: lambda x, w, b: batch_norm(x, w, b, None, None, 1e-2, vectors),
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=1e-2),
        [randn(6, 3), randn(3), randn(3)],
    ),
    "without parameters": (
        lambda vectors: lambda x: batch_norm(x, None, None, None, None, 1e-5, vectors),
        lambda x: F.batch_norm(x, None, None, training=True),
        [randn(6, 3, 5)],
    ),
    "by given statistics": (
        lambda vectors: lambda x, w, b: batch_norm(x, w, b, randn(3), randn(3, seed=1) ** 2, 1e-5, vectors),
        lambda x, w, b: F.batch_norm(x, randn(3), randn(3, seed=1) ** 2, w, b),
        [randn(6, 3, 4), randn(3), randn(3)],
    ),
}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_products_are_those_of_autograd(name, several):
    check(*CASES[name], several)


@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
def test_products_for_some_of_the_inputs_only(which):
    check(*CASES["of images"], False, which)
