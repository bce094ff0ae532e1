"""fastlanczos/closed_forms/layer_norm.py: against what autograd derives by itself."""

import pytest

torch = pytest.importorskip("torch")

from cases.closed_forms import check, randn  # noqa: E402

from fastlanczos.closed_forms.layer_norm import layer_norm  # noqa: E402

F = torch.nn.functional

CASES = {
    "layer norm": (
        lambda vectors: lambda x, w, b: layer_norm(x, w, b, 1e-5, vectors, entries=6),
        lambda x, w, b: F.layer_norm(x, (6,), w, b),
        [randn(2, 5, 6), randn(6), randn(6)],
    ),
    "of two dimensions, eps that counts": (
        lambda vectors: lambda x, w, b: layer_norm(x, w, b, 0.3, vectors, entries=12),
        lambda x, w, b: F.layer_norm(x, (3, 4), w, b, 0.3),
        [randn(5, 3, 4), randn(3, 4), randn(3, 4)],
    ),
    "without parameters": (
        lambda vectors: lambda x: layer_norm(x, None, None, 1e-5, vectors, entries=6),
        lambda x: F.layer_norm(x, (6,)),
        [randn(5, 6)],
    ),
    "without bias": (
        lambda vectors: lambda x, w: layer_norm(x, w, None, 1e-5, vectors, entries=6),
        lambda x, w: F.layer_norm(x, (6,), w),
        [randn(5, 6), randn(6)],
    ),
    "RMS norm": (
        lambda vectors: lambda x, w: layer_norm(x, w, None, 1e-2, vectors, entries=6, centered=False),
        lambda x, w: F.rms_norm(x, (6,), w, 1e-2),
        [randn(2, 5, 6), randn(6)],
    ),
    "RMS norm without weight": (
        lambda vectors: lambda x: layer_norm(x, None, None, 1e-2, vectors, entries=6, centered=False),
        lambda x: F.rms_norm(x, (6,), None, 1e-2),
        [randn(5, 6)],
    ),
}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_products_are_those_of_autograd(name, several):
    check(*CASES[name], several)


@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
def test_products_for_some_of_the_inputs_only(which):
    check(*CASES["layer norm"], False, which)
