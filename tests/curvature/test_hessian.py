"""fastlanczos/curvature/hessian.py."""

import random

import numpy as np
import pytest

import fastlanczos as fl

torch = pytest.importorskip("torch")
from cases.curvature import Recurrent  # noqa: E402
from cases.networks import Tied, batches, convolutional, dense_hessian, images, mlp, seeded  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402

nn, F = torch.nn, torch.nn.functional


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.out = nn.TransformerEncoderLayer(2, 1, 5, dropout=0.0, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.layer(x.view(len(x), 3, 2)).flatten(1))


MODELS = {
    "recurrent": (lambda: seeded(Recurrent).double(), batches()),
    "attention": (lambda: seeded(Attending).double(), batches()),
    "attention, evaluation": (lambda: seeded(Attending).double().eval(), batches()),
    "MLP, ragged last batch": (mlp, batches()),
    "batch norm, training": (convolutional, images()),
    "batch norm, evaluation": (lambda: convolutional().eval(), images()),
}


@pytest.mark.parametrize("name", MODELS)
def test_products_are_those_of_the_dense_hessian(name):
    make, data = MODELS[name]
    model = make()
    H = flt.HessianOperator(model, F.cross_entropy, data)
    exact = dense_hessian(model, F.cross_entropy, data)
    product = H @ torch.eye(H.shape[0], dtype=torch.float64)
    norm = torch.linalg.matrix_norm(exact, 2)
    assert torch.abs(product - exact).max() < 1e-13 * norm
    assert torch.abs(product - product.T).max() < 1e-13 * norm


def test_fused_attention_is_replaced_by_the_kind_with_second_derivatives():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Linear(2, 6), nn.Linear(6, 3)

        def forward(self, x):
            q, k, v = self.qkv(x.view(len(x), 1, 3, 2)).chunk(3, dim=-1)
            return self.out(F.scaled_dot_product_attention(q, k, v).flatten(1))

    model = seeded(Fused).double()
    H = flt.HessianOperator(model, F.cross_entropy, batches())
    product = H @ torch.eye(H.shape[0], dtype=torch.float64)
    assert torch.abs(product - product.T).max() < 1e-13 * torch.linalg.matrix_norm(product, 2)
    # Central differences of the gradient, good to about their step squared.
    v, step = torch.linspace(-1, 1, H.shape[0], dtype=torch.float64), 1e-5
    gradients = []
    for sign in (1, -1):
        moved = seeded(Fused).double()
        torch.nn.utils.vector_to_parameters(
            torch.nn.utils.parameters_to_vector(model.parameters()).detach() + sign * step * v, moved.parameters()
        )
        gradients.append(flt.HessianOperator(moved, F.cross_entropy, batches()).gradient())
    difference = (gradients[0] - gradients[1]) / (2 * step)
    assert torch.abs(difference - H @ v).max() < 1e-7 * torch.abs(difference).max()


def test_arrays_may_be_reversed_read_only_or_strided():
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    v = np.linspace(-1, 2, 106)
    v.flags.writeable = False
    for view in (v[:53], v[52::-1], v[::2]):
        np.testing.assert_array_equal(H @ view, H @ view.copy())


def test_tied_parameters_count_once():
    model = seeded(Tied).double()
    g = torch.Generator().manual_seed(0)
    data = [(torch.randint(7, (5,), generator=g), torch.randint(7, (5,), generator=g))]
    H = flt.HessianOperator(model, F.cross_entropy, data)
    assert H.shape == (28, 28)
    exact = dense_hessian(model, F.cross_entropy, data)
    assert torch.abs(H @ torch.eye(28, dtype=torch.float64) - exact).max() < 1e-13 * torch.linalg.matrix_norm(exact, 2)


def test_gradient_is_that_of_the_whole_data_set():
    model = mlp()
    inputs, targets = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    F.cross_entropy(model(inputs), targets).backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    gradient = flt.HessianOperator(model, F.cross_entropy, batches()).gradient()
    assert gradient.dtype == torch.float64
    assert torch.abs(gradient - expected).max() < 1e-15


@pytest.mark.parametrize("model_dtype", [torch.float32, torch.float64])
def test_tensors_give_tensors_and_arrays_give_arrays_in_the_vectors_dtype(model_dtype):
    H = flt.HessianOperator(mlp(model_dtype), F.cross_entropy, batches(dtype=model_dtype))
    exact = flt.HessianOperator(mlp(), F.cross_entropy, batches()) @ torch.ones(53, dtype=torch.float64)
    for dtype in (torch.float32, torch.float64):
        product = H @ torch.ones(53, dtype=dtype)
        assert product.dtype == dtype
        assert (H @ np.ones(53, dtype=str(dtype)[6:])).dtype == np.dtype(str(dtype)[6:])
    if model_dtype == torch.float64:
        assert torch.abs(product - exact).max() < 1e-14
    assert (H @ np.ones((53, 2))).shape == (53, 2)
    assert (H.dtype, H.device.type) == (model_dtype, "cpu")


def test_the_model_and_all_generators_are_left_bit_for_bit():
    model = seeded(lambda: nn.Sequential(convolutional(), nn.Dropout(0.5))).double().train()
    data = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*(torch.cat(parts) for parts in zip(*images(), strict=True))),
        batch_size=4,
        shuffle=True,
        generator=torch.Generator().manual_seed(3),
    )
    model[0][0].weight.grad = torch.ones_like(model[0][0].weight)

    def snapshot():
        return (
            {k: v.clone() for k, v in model.state_dict().items()},
            {k: None if p.grad is None else p.grad.clone() for k, p in model.named_parameters()},
            [p.requires_grad for p in model.parameters()],
            [m.training for m in model.modules()],
            (torch.get_rng_state(), data.generator.get_state()),
            (random.getstate(), np.random.get_state()[1].tolist()),  # noqa: NPY002
        )

    before = snapshot()
    H = flt.HessianOperator(model, F.cross_entropy, data, seed=0)
    first = H @ torch.ones(H.shape[0], dtype=torch.float64)
    H.gradient()
    second = H @ torch.ones(H.shape[0], dtype=torch.float64)
    after = snapshot()
    assert torch.equal(first, second)
    for key in before[0]:
        assert torch.equal(before[0][key], after[0][key])
    for key, gradient in before[1].items():
        assert gradient is after[1][key] is None or torch.equal(gradient, after[1][key])
    assert before[2:4] == after[2:4]
    assert all(torch.equal(b, a) for b, a in zip(before[4], after[4], strict=True))
    assert before[5] == after[5]


def test_everything_is_left_alone_when_a_product_fails_too():
    model, state = mlp(), torch.get_rng_state()

    def failing(output, target):
        torch.rand(3)
        raise RuntimeError("no")

    H = flt.HessianOperator(model, failing, batches())
    with pytest.raises(RuntimeError, match="no"):
        H @ torch.ones(53, dtype=torch.float64)
    assert torch.equal(state, torch.get_rng_state())
    assert all(isinstance(p, nn.Parameter) for p in model.parameters())


def test_products_work_under_no_grad_and_leave_nothing_requiring_gradients():
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    with torch.no_grad():
        product = H @ torch.ones(53, dtype=torch.float64)
    assert product.abs().sum() > 0
    assert not product.requires_grad


def test_the_operator_follows_the_model():
    model = mlp()
    H = flt.HessianOperator(model, F.cross_entropy, batches())
    v = torch.ones(53, dtype=torch.float64)
    before = H @ v
    with torch.no_grad():
        model[0].weight.mul_(2)
    assert torch.abs(H @ v - before).max() > 1e-3


def test_density_of_a_network_is_the_exact_one():
    model = mlp()
    H = flt.HessianOperator(model, F.cross_entropy, batches())
    eigenvalues = torch.linalg.eigvalsh(dense_hessian(model, F.cross_entropy, batches())).numpy()
    r = fl.lanczos(H, num_steps=53, seed=0)
    norm = np.abs(eigenvalues).max()
    assert abs(r.quadrature()[0][-1] - eigenvalues[-1]) < 1e-13 * norm
    assert abs(r.quadrature()[0][0] - eigenvalues[0]) < 1e-13 * norm
    assert r.asymmetry < 1e-14


def test_a_float32_network_is_not_called_asymmetric():
    H = flt.HessianOperator(mlp(torch.float32), F.cross_entropy, batches(dtype=torch.float32))
    assert fl.lanczos(H, num_steps=20, seed=0).asymmetry < 1e-5


def test_a_loss_that_is_linear_has_no_curvature():
    H = flt.HessianOperator(nn.Linear(6, 3).double(), lambda o, y: o.sum(1).mean(), batches())
    assert torch.equal(H @ torch.ones(21, dtype=torch.float64), torch.zeros(21, dtype=torch.float64))


def generator():
    yield from batches()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: flt.HessianOperator("model", F.cross_entropy, batches()),
            TypeError,
            "model must be a torch.nn.Module",
        ),
        (lambda: flt.HessianOperator(mlp(), None, batches()), TypeError, "loss_fn must be callable"),
        (lambda: flt.HessianOperator(mlp(), F.cross_entropy, generator()), TypeError, "generator.*only once"),
        (lambda: flt.HessianOperator(mlp(), F.cross_entropy, zip([1], [2], strict=True)), TypeError, "zip.*only once"),
        (lambda: flt.HessianOperator(mlp(), F.cross_entropy, 3), TypeError, "iterable of batches.*got int"),
        (
            lambda: flt.HessianOperator(mlp(), F.cross_entropy, torch.utils.data.TensorDataset(torch.ones(3, 6))),
            TypeError,
            "Dataset, which gives single samples",
        ),
        (
            lambda: flt.HessianOperator(mlp(), F.cross_entropy, batches(), params=["4.w"]),
            ValueError,
            r"\['4.w'\], which",
        ),
        (
            lambda: flt.HessianOperator(mlp(), F.cross_entropy, batches(), params=[]),
            ValueError,
            "params= is empty",
        ),
        (
            lambda: flt.HessianOperator(mlp(), F.cross_entropy, batches(), params=lambda name: False),
            ValueError,
            "selects no parameter; the model has 0.weight",
        ),
        (lambda: flt.HessianOperator(nn.ReLU(), F.cross_entropy, batches()), ValueError, "has no parameters"),
        (
            lambda: flt.HessianOperator(mlp().requires_grad_(False), F.cross_entropy, batches()),
            ValueError,
            "no parameter of the model requires a gradient",
        ),
        (
            lambda: flt.HessianOperator(nn.Sequential(mlp(), nn.Dropout(0.1)), F.cross_entropy, batches()),
            ValueError,
            r"dropout is on \(1\).*model.eval\(\).*seed=",
        ),
        (
            lambda: flt.HessianOperator(mlp(), F.cross_entropy, batches(), reduction="avg"),
            ValueError,
            "reduction must be",
        ),
    ],
)
def test_what_cannot_work_is_told_before_anything_runs(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "v", "error", "message"),
    [
        ({}, torch.ones(3), ValueError, r"shape \(53, 53\) and multiplies \(53,\) or \(53, k\), got \(3,\)"),
        (
            {},
            torch.ones(53, dtype=torch.int64),
            TypeError,
            "real floating-point vectors, got dtype torch.int64",
        ),
        ({}, "v", TypeError, "a torch tensor or a NumPy array, got str"),
        ({"loss_fn": lambda o, y: 0.0}, torch.ones(53), TypeError, "must return a tensor, got float"),
        (
            {"loss_fn": lambda o, y: o},
            torch.ones(53),
            ValueError,
            r"returned shape \(7, 3\) for a batch of 7 samples",
        ),
        (
            {"loss_fn": lambda o, y: torch.ones(())},
            torch.ones(53),
            ValueError,
            "does not depend on the chosen",
        ),
        ({"data": []}, torch.ones(53), ValueError, "data has no samples"),
        (
            {"data": [torch.ones(2, 6)]},
            torch.ones(53),
            TypeError,
            r"must be \(input, target\), got Tensor: give forward=",
        ),
        ({"data": [(1, 2, 3)]}, torch.ones(53), TypeError, "got tuple of length 3"),
    ],
)
def test_what_goes_wrong_in_a_product_is_told(make, v, error, message):
    H = flt.HessianOperator(**{"model": mlp(), "loss_fn": F.cross_entropy, "data": batches()} | make)
    with pytest.raises(error, match=message):
        H @ v


def test_a_data_set_that_changes_its_size_is_told():
    data = batches()
    H = flt.HessianOperator(mlp(), F.cross_entropy, data)
    H @ torch.ones(53)
    data.pop()
    with pytest.raises(RuntimeError, match="17 samples in an earlier pass and 14 in this one"):
        H @ torch.ones(53)


def test_repr_says_what_it_is():
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    assert repr(H) == "HessianOperator(Sequential, n=53 in 4 parameters, torch.float64, cpu)"
    H.gradient()
    assert "17 samples" in repr(H)


def test_a_density_goes_through_the_data_for_its_first_product_only():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)).double()

    class Data:
        passes = 0

        def __init__(self):
            self.batches = [(torch.randn(8, 4).double(), torch.randint(3, (8,))) for _ in range(3)]

        def __iter__(self):
            self.passes += 1
            return iter(self.batches)

    data = Data()
    H = flt.HessianOperator(model, torch.nn.functional.cross_entropy, data)
    together = fl.spectral_density(H, num_probes=6, num_steps=20, seed=0)
    assert data.passes <= 4
    assert together.info["lockstep"] == 6
    alone = fl.spectral_density(lambda v: H @ v, H.shape[0], num_probes=6, num_steps=20, seed=0)
    np.testing.assert_allclose(together.nodes, alone.nodes, atol=1e-12 * np.abs(alone.nodes).max())
