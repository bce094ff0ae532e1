"""fastlanczos/closed_forms/convolution.py: against what autograd derives by itself."""

import pytest

torch = pytest.importorskip("torch")

from cases.closed_forms import check, randn  # noqa: E402

from fastlanczos.closed_forms.convolution import Stencil, convolution  # noqa: E402

F = torch.nn.functional

CASES = {
    "strides, padding, dilation": (
        lambda vectors: lambda x, w, b: convolution(x, w, b, Stencil([2, 1], [1, 2], [1, 2], 1), vectors),
        lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 2), (1, 2)),
        [randn(3, 4, 6, 7), randn(5, 4, 3, 2), randn(5)],
    ),
    "channels last": (
        lambda vectors: lambda x, w, b: convolution(x, w, b, Stencil([1, 1], [1, 1], [1, 1], 1), vectors),
        lambda x, w, b: F.conv2d(x, w, b, padding=1),
        [randn(3, 4, 6, 7), randn(5, 4, 3, 3).contiguous(memory_format=torch.channels_last), randn(5)],
    ),
    "in groups, without bias": (
        lambda vectors: lambda x, w: convolution(x, w, None, Stencil([1, 1], [0, 0], [1, 1], 2), vectors),
        lambda x, w: F.conv2d(x, w, groups=2),
        [randn(3, 4, 5, 5), randn(6, 2, 3, 3)],
    ),
    "of one dimension": (
        lambda vectors: lambda x, w, b: convolution(x, w, b, Stencil([1], [2], [1], 1), vectors),
        lambda x, w, b: F.conv1d(x, w, b, padding=2),
        [randn(3, 2, 9), randn(4, 2, 3), randn(4)],
    ),
    "of three dimensions": (
        lambda vectors: lambda x, w, b: convolution(x, w, b, Stencil([1] * 3, [1] * 3, [1] * 3, 1), vectors),
        lambda x, w, b: F.conv3d(x, w, b, padding=1),
        [randn(2, 2, 3, 4, 3), randn(3, 2, 3, 3, 3), randn(3)],
    ),
}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_products_are_those_of_autograd(name, several):
    check(*CASES[name], several)


@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
def test_products_for_some_of_the_inputs_only(which):
    check(*CASES["strides, padding, dilation"], False, which)
