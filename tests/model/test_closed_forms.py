"""fastlanczos/model/closed_forms.py: against what autograd derives by itself."""

import pytest

torch = pytest.importorskip("torch")

from cases.networks import dense_hessian  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402
from fastlanczos.model import closed_forms  # noqa: E402
from fastlanczos.model.closed_forms import Stencil  # noqa: E402

F = torch.nn.functional


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def products(f, inputs, vectors, several):
    """H v of sum(f(inputs)^3) for each of the vectors, through the gradient's graph."""
    inputs = [t.clone().requires_grad_() for t in inputs]
    gradients = torch.autograd.grad((f(*inputs) ** 3).sum(), inputs, create_graph=True)

    def product(*v):
        return torch.autograd.grad(gradients, inputs, v, retain_graph=True)

    if several:
        return gradients, torch.vmap(product)(*vectors)
    return gradients, [torch.stack(p) for p in zip(*(product(*v) for v in zip(*vectors, strict=True)), strict=True)]


TARGET = torch.tensor([2, 0, 1, 2, 2])
WEIGHTS = torch.tensor([1.0, 0.5, 0.0, 2.0, 1.0], dtype=torch.float64)

CASES = {
    "linear": (
        lambda vectors: lambda x, w, b: closed_forms.linear(x, w, b, vectors),
        F.linear,
        [randn(5, 4), randn(3, 4), randn(3)],
    ),
    "linear without bias, of three dimensions": (
        lambda vectors: lambda x, w: closed_forms.linear(x, w, None, vectors),
        F.linear,
        [randn(2, 5, 4), randn(3, 4)],
    ),
    "tanh": (lambda vectors: lambda x: closed_forms.activation(x, torch.tanh), torch.tanh, [randn(5, 4)]),
    "gelu": (lambda vectors: lambda x: closed_forms.activation(x, F.gelu), F.gelu, [randn(5, 4)]),
    "convolution": (
        lambda vectors: lambda x, w, b: closed_forms.convolution(x, w, b, Stencil([2, 1], [1, 2], [1, 2], 1), vectors),
        lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 2), (1, 2)),
        [randn(3, 4, 6, 7), randn(5, 4, 3, 2), randn(5)],
    ),
    "convolution, channels last": (
        lambda vectors: lambda x, w, b: closed_forms.convolution(x, w, b, Stencil([1, 1], [1, 1], [1, 1], 1), vectors),
        lambda x, w, b: F.conv2d(x, w, b, padding=1),
        [randn(3, 4, 6, 7), randn(5, 4, 3, 3).contiguous(memory_format=torch.channels_last), randn(5)],
    ),
    "convolution in groups, without bias": (
        lambda vectors: lambda x, w: closed_forms.convolution(x, w, None, Stencil([1, 1], [0, 0], [1, 1], 2), vectors),
        lambda x, w: F.conv2d(x, w, groups=2),
        [randn(3, 4, 5, 5), randn(6, 2, 3, 3)],
    ),
    "convolution of one dimension": (
        lambda vectors: lambda x, w, b: closed_forms.convolution(x, w, b, Stencil([1], [2], [1], 1), vectors),
        lambda x, w, b: F.conv1d(x, w, b, padding=2),
        [randn(3, 2, 9), randn(4, 2, 3), randn(4)],
    ),
    "convolution of three dimensions": (
        lambda vectors: (
            lambda x, w, b: closed_forms.convolution(x, w, b, Stencil([1] * 3, [1] * 3, [1] * 3, 1), vectors)
        ),
        lambda x, w, b: F.conv3d(x, w, b, padding=1),
        [randn(2, 2, 3, 4, 3), randn(3, 2, 3, 3, 3), randn(3)],
    ),
    "batch norm": (
        lambda vectors: lambda x, w, b: closed_forms.batch_norm(x, w, b, None, None, 1e-5, vectors),
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        [randn(6, 3, 4, 2), randn(3), randn(3)],
    ),
    "batch norm of vectors": (
        lambda vectors: lambda x, w, b: closed_forms.batch_norm(x, w, b, None, None, 1e-2, vectors),
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=1e-2),
        [randn(6, 3), randn(3), randn(3)],
    ),
    "batch norm without parameters": (
        lambda vectors: lambda x: closed_forms.batch_norm(x, None, None, None, None, 1e-5, vectors),
        lambda x: F.batch_norm(x, None, None, training=True),
        [randn(6, 3, 5)],
    ),
    "batch norm by given statistics": (
        lambda vectors: (
            lambda x, w, b: closed_forms.batch_norm(x, w, b, randn(3), randn(3, seed=1) ** 2, 1e-5, vectors)
        ),
        lambda x, w, b: F.batch_norm(x, randn(3), randn(3, seed=1) ** 2, w, b),
        [randn(6, 3, 4), randn(3), randn(3)],
    ),
    "cross entropy": (
        lambda _: lambda z: closed_forms.cross_entropy(z, TARGET, WEIGHTS),
        lambda z: (F.cross_entropy(z, TARGET, reduction="none") * WEIGHTS).sum(),
        [randn(5, 3)],
    ),
}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_products_are_those_of_autograd(name, several):
    make, reference, inputs = CASES[name]
    vectors = closed_forms.Vectors()
    vectors.several = several
    closed = make(vectors)
    assert torch.allclose(closed(*inputs), reference(*inputs), rtol=1e-13, atol=1e-13)
    probes = [randn(4, *t.shape, seed=7) for t in inputs]
    for ours, theirs in zip(
        products(closed, inputs, probes, several), products(reference, inputs, probes, False), strict=True
    ):
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape
            assert torch.abs(a - b).max() <= 1e-12 * torch.abs(b).max()


@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
@pytest.mark.parametrize("name", ["linear", "convolution", "batch norm"])
def test_products_for_some_of_the_inputs_only(name, which):
    make, reference, inputs = CASES[name]
    closed = make(closed_forms.Vectors())

    def partly(f):
        return lambda *some: f(*[some[which.index(i)] if i in which else t for i, t in enumerate(inputs)])

    chosen = [inputs[i] for i in which]
    probes = [randn(2, *t.shape, seed=7) for t in chosen]
    _, ours = products(partly(closed), chosen, probes, False)
    _, theirs = products(partly(reference), chosen, probes, False)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.abs(a - b).max() <= 1e-12 * torch.abs(b).max()


def test_a_model_may_change_in_place_what_an_activation_has_read():
    class InPlace(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 3, dtype=torch.float64)

        def forward(self, x):
            h = self.layer(x)
            gate = torch.sigmoid(h)
            h += gate
            return F.silu(h) * torch.tanh(h)

    torch.manual_seed(0)
    model, data = InPlace(), [(randn(5, 3), torch.tensor([0, 1, 2, 0, 1]))]
    H = flt.HessianOperator(model, F.cross_entropy, data)
    exact = dense_hessian(model, F.cross_entropy, data)
    product = H @ torch.eye(12, dtype=torch.float64)
    assert torch.abs(product - exact).max() <= 1e-12 * torch.linalg.matrix_norm(exact, 2)
