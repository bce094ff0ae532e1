"""fastlanczos/curvature/operator.py: products, data, statistics, memory; see tests/cases/curvature.py."""

import itertools
import random

import numpy as np
import pytest

import fastlanczos as fl

torch = pytest.importorskip("torch")
from cases import curvature as cases  # noqa: E402
from cases.networks import Cube, batches, convolutional, images, mlp, seeded  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402
from fastlanczos.torch import Schedule  # noqa: E402

nn, F = torch.nn, torch.nn.functional

SCHEDULES = {
    "chosen": None,
    "kept, together": Schedule("kept", together=100),
    "kept, one by one": Schedule("kept", together=1),
    "rebuilt": Schedule("rebuilt", together=1),
    "on disk": Schedule("on disk", together=1),
}


def dense(H):
    return H @ torch.eye(H.shape[0], dtype=torch.float64)


def assert_same(product, exact, tolerance=1e-12):
    assert product.shape == exact.shape
    assert torch.abs(product - exact).max() <= tolerance * torch.linalg.matrix_norm(exact, 2)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", cases.CASES)
def test_products_are_those_of_the_dense_hessian_of_all_samples(name, schedule):
    make, loss_fn, data, options = cases.CASES[name]
    H = flt.HessianOperator(make(), loss_fn, data(), schedule=SCHEDULES[schedule], **options)
    exact = cases.dense_hessian_of_all(cases.prepared(make(), data(), options), loss_fn, data())
    assert_same(dense(H), exact)
    v = torch.linspace(-1, 1, H.shape[0], dtype=torch.float64)
    assert torch.abs(H @ v - exact @ v).max() <= 1e-12 * torch.linalg.matrix_norm(exact, 2) * v.norm()


@pytest.mark.parametrize("name", [n for n in cases.CASES if "batch norm" not in n and n != "recurrent"])
def test_forward_over_reverse_gives_the_same_products(name):
    make, loss_fn, data, options = cases.CASES[name]
    for together in (1, 100):
        schedule = Schedule("forward", together=together)
        H = flt.HessianOperator(make(), loss_fn, data(), schedule=schedule, **options)
        assert_same(dense(H), cases.dense_hessian_of_all(make(), loss_fn, data()))


@pytest.mark.parametrize("name", cases.CASES)
def test_gradients_are_those_of_all_samples(name):
    make, loss_fn, data, options = cases.CASES[name]
    H = flt.HessianOperator(make(), loss_fn, data(), **options)
    exact = cases.dense_gradient(cases.prepared(make(), data(), options), loss_fn, data())
    assert torch.abs(H.gradient() - exact).max() <= 1e-12 * torch.abs(exact).max()


@pytest.mark.parametrize("operator", [flt.HessianOperator, flt.GGNOperator])
def test_models_with_their_own_loss_and_dict_batches(operator):
    data = cases.labelled()
    model = seeded(cases.WithOwnLoss).double()
    plain = seeded(cases.WithOwnLoss).double()
    whole = {key: torch.cat([batch[key] for batch in data]) for key in data[0]}
    theta, f = cases.flat_function(plain)
    if operator is flt.HessianOperator:
        exact = torch.autograd.functional.hessian(lambda t: f(t, **whole).loss, theta)
    else:
        pairs = [(b["input_ids"], b["labels"]) for b in data]
        exact = cases.dense_ggn(plain.network, F.cross_entropy, pairs)
    assert_same(dense(operator(model, None, data)), exact)
    given = operator(model, lambda o, y: F.cross_entropy(o.logits.flatten(0, 1), y.flatten()), data)
    assert_same(dense(given), exact)


def test_small_batches_are_put_together_and_large_ones_cut():
    data = batches(sizes=(2,) * 20 + (1,))
    H = flt.HessianOperator(mlp(), F.cross_entropy, data)
    exact = cases.dense_hessian_of_all(mlp(), F.cross_entropy, data)
    assert_same(dense(H), exact)
    assert H.schedule.batch_size == 41
    assert len(H._products.graphs) == 1
    for size in (1, 3, 7, 100):
        other = flt.HessianOperator(mlp(), F.cross_entropy, batches(), schedule=Schedule("rebuilt", size))
        assert_same(dense(other), cases.dense_hessian_of_all(mlp(), F.cross_entropy, batches()))


def test_batches_are_left_whole_where_samples_depend_on_one_another():
    class Contrasting(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            z = self.net(x)
            return z @ z.T  # each row sees all samples

    def loss_fn(z, y):
        return F.cross_entropy(z, torch.arange(len(z)))

    data = batches(sizes=(4,) * 6)
    H = flt.HessianOperator(Contrasting(), loss_fn, data)
    normed = flt.HessianOperator(convolutional(), F.cross_entropy, images())
    for operator in (H, normed):
        operator @ torch.ones(operator.shape[0], dtype=torch.float64)
        assert operator.schedule.batch_size is None
    cut = flt.HessianOperator(Contrasting(), loss_fn, data, max_memory=500)
    assert_same(dense(cut), dense(H))
    assert cut.schedule.graphs == "on disk"


def test_less_memory_gives_the_same_numbers():
    data = batches(sizes=(64, 64, 40))
    H = flt.HessianOperator(mlp(), F.cross_entropy, data)
    exact = dense(H)
    need = H.schedule.graph_bytes
    assert need > 10_000
    for share in (0.9, 0.5, 0.1):
        less = flt.HessianOperator(mlp(), F.cross_entropy, data, max_memory=int(share * need))
        assert_same(dense(less), exact, 1e-14)
        assert less.schedule.graphs == "rebuilt"
    assert less.schedule.batch_size < 10


def test_data_of_unknown_length_that_need_more_memory_than_the_first_batch_shows():
    class Endless:
        def __iter__(self):
            return iter(batches(sizes=(8,) * 50))

    H = flt.HessianOperator(mlp(), F.cross_entropy, Endless(), max_memory=60_000, check=False)
    exact = flt.HessianOperator(mlp(), F.cross_entropy, batches(sizes=(8,) * 50))
    assert_same(dense(H), dense(exact), 1e-14)
    assert H.schedule.graphs == "rebuilt"


@pytest.mark.parametrize("operator", [flt.HessianOperator, flt.GGNOperator])
def test_an_operation_without_a_second_derivative_is_told_where_torch_would_give_zeros(operator):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            return Cube.apply(self.net(x))

    with pytest.raises(ValueError, match=r"has no second derivative.*once_differentiable"):
        operator(Model(), F.cross_entropy, batches()) @ torch.ones(53, dtype=torch.float64)


def test_what_torch_has_no_second_derivative_of_in_reverse_goes_forward(monkeypatch):
    def failing(self, piece, evaluation):
        raise RuntimeError("derivative for aten::something_backward is not implemented")

    monkeypatch.setattr(flt.HessianOperator, "_graph", failing)
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    assert_same(dense(H), cases.dense_hessian_of_all(mlp(), F.cross_entropy, batches()))
    assert H.schedule.graphs == "forward"


def test_forward_over_reverse_through_batch_norm_in_training():
    H = flt.HessianOperator(convolutional(), F.cross_entropy, images(), schedule=Schedule("forward", together=1))
    assert_same(dense(H), cases.dense_hessian_of_all(convolutional(), F.cross_entropy, images()))


def test_population_statistics_are_exact_through_several_layers():
    def make():
        return seeded(
            lambda: nn.Sequential(
                nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)
            )
        ).double()

    x, y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    model, H = make(), flt.HessianOperator(make(), F.cross_entropy, batches(), batch_statistics="population")
    # One batch of everything normalizes each layer by the population.
    h = model[0](x)
    for norm, rest in ((model[1], model[2:4]), (model[4], None)):
        norm.running_mean.copy_(h.detach().mean(0))
        norm.running_var.copy_(h.detach().var(0, correction=0))
        h = h if rest is None else rest(norm.eval()(h))
    exact = cases.dense_hessian_of_all(model.eval(), F.cross_entropy, [(x, y)])
    assert_same(dense(H), exact)


def test_batch_statistics_are_refused_where_there_are_none():
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, track_running_stats=False)).double()
    with pytest.raises(ValueError, match="a batch-norm layer has none"):
        flt.HessianOperator(model, F.cross_entropy, batches(), batch_statistics="running") @ torch.ones(27)
    with pytest.raises(ValueError, match=r"population.* or None, got 'mean'"):
        flt.HessianOperator(model, F.cross_entropy, batches(), batch_statistics="mean")


@pytest.mark.parametrize("schedule", ["kept, one by one", "rebuilt", "on disk"])
@pytest.mark.parametrize("statistics", [None, "batch", "running", "population"])
def test_the_model_is_left_alone_bit_for_bit(statistics, schedule):
    model = seeded(lambda: nn.Sequential(convolutional(), nn.Dropout(0.5))).double().train()
    calls = []
    model[0][0].register_forward_hook(lambda *_: calls.append(1))
    model[0][0].weight.grad = torch.ones_like(model[0][0].weight)
    model[0][5].bias.requires_grad_(False)
    hooks = [len(m._forward_hooks) for m in model.modules()]

    def state():
        return (
            {k: v.clone() for k, v in model.state_dict().items()},
            {
                k: (id(p), p.requires_grad, None if p.grad is None else p.grad.clone())
                for k, p in model.named_parameters()
            },
            [m.training for m in model.modules()],
            (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()),  # noqa: NPY002
        )

    before = state()
    H = flt.HessianOperator(
        model, F.cross_entropy, images(), seed=0, batch_statistics=statistics, schedule=SCHEDULES[schedule]
    )
    for operator in (H, flt.GGNOperator(model, F.cross_entropy, images(), seed=0, batch_statistics=statistics)):
        v = torch.ones(operator.shape[0], dtype=torch.float64)
        assert torch.equal(operator @ v, operator @ v)
        operator.gradient()
    after = state()
    assert all(torch.equal(after[0][k], v) for k, v in before[0].items())
    for k, (name, needs, grad) in before[1].items():
        assert after[1][k][:2] == (name, needs)
        assert (grad is None) == (after[1][k][2] is None)
        assert grad is None or torch.equal(grad, after[1][k][2])
    assert before[2:] == after[2:]
    assert hooks == [len(m._forward_hooks) for m in model.modules()]


def test_kept_graphs_follow_the_model_its_mode_and_its_buffers():
    model = convolutional()
    H = flt.HessianOperator(model, F.cross_entropy, images())
    v = torch.ones(H.shape[0], dtype=torch.float64)
    products = [H @ v]
    with torch.no_grad():
        model[0].weight.mul_(2)
    products.append(H @ v)
    model[0].weight.data.mul_(2)  # which the version counter does not show
    products.append(H @ v)
    model.eval()
    products.append(H @ v)
    model[1].running_var.mul_(3)
    products.append(H @ v)
    for a, b in itertools.pairwise(products):
        assert torch.abs(a - b).max() > 1e-6
    fresh = flt.HessianOperator(model, F.cross_entropy, images())
    assert torch.abs(fresh @ v - products[-1]).max() < 1e-13 * torch.abs(products[-1]).max()
    assert H.schedule.batch_size is not None
    model.train()  # now samples depend on one another, and batches may no longer be put together
    assert_same(dense(H), cases.dense_hessian_of_all(model, F.cross_entropy, images()))
    with pytest.raises(ValueError, match="batch norm couples the samples of a batch"):
        flt.HessianOperator(model, F.cross_entropy, images(), schedule=fresh.schedule) @ v


def test_the_loss_may_use_the_parameters_too():
    model = mlp()

    def loss_fn(z, y):
        return F.cross_entropy(z, y) + 0.5 * 0.1 * sum((p**2).sum() for p in model.parameters())

    H = flt.HessianOperator(model, loss_fn, batches())
    decayed = flt.HessianOperator(mlp(), F.cross_entropy, batches(), weight_decay=0.1)
    assert_same(dense(H), dense(decayed), 1e-13)
    assert torch.abs(H.gradient() - decayed.gradient()).max() < 1e-14


def test_weight_decay_for_some_parameters():
    plain = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches(), weight_decay={"*.weight": 0.3, "2": 0.1})
    parts = H.unflatten(torch.diagonal(dense(H) - dense(plain)))
    for name, value in {"0.weight": 0.3, "0.bias": 0.0, "2.weight": 0.1, "2.bias": 0.1}.items():
        assert torch.abs(parts[name] - value).max() < 1e-14
    with pytest.raises(ValueError, match="weight_decay must be a number of at least 0"):
        flt.HessianOperator(mlp(), F.cross_entropy, batches(), weight_decay=-1.0)


def test_blocks_are_those_of_the_whole_matrix():
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches(), weight_decay=0.1)
    whole = dense(H)
    blocks = H.blocks()
    assert list(blocks) == ["0", "2"]
    assert_same(dense(blocks["0"]), whole[:35, :35], 1e-13)
    assert_same(dense(blocks["2"]), whole[35:, 35:], 1e-13)
    assert_same(dense(H.block("*.bias")), whole[[*range(30, 35), *range(50, 53)]][:, [*range(30, 35), *range(50, 53)]])
    with pytest.raises(ValueError, match="are not among the operator's parameters"):
        blocks["0"].block("2")


def test_a_float32_model_in_float64():
    data = [(x.float(), y) for x, y in batches()]
    H = flt.HessianOperator(mlp(torch.float32), F.cross_entropy, data, dtype=torch.float64)
    exact = cases.dense_hessian_of_all(mlp(torch.float32).double(), F.cross_entropy, [(x.double(), y) for x, y in data])
    assert H.dtype == torch.float64
    assert_same(dense(H), exact)
    assert H._model[0].weight.dtype == torch.float32


def test_parameters_of_several_dtypes():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 5).double(), nn.Linear(5, 3).float()

        def forward(self, x):
            return self.b(torch.tanh(self.a(x)).float())

    H = flt.HessianOperator(seeded(Mixed), F.cross_entropy, batches())
    exact = flt.HessianOperator(seeded(Mixed).double(), F.cross_entropy, batches(), dtype=torch.float64, forward=None)
    assert H.dtype == torch.float32
    product = dense(H)
    assert torch.abs(product - product.T).max() < 1e-6 * torch.linalg.matrix_norm(product, 2)
    assert exact.dtype == torch.float64


class Augmented(torch.utils.data.Dataset):
    def __init__(self, generator=None):
        self.samples, self.generator = torch.cat([x for x, _ in batches()]), generator

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        noise = torch.randn(6, dtype=torch.float64, generator=self.generator)
        return self.samples[index] + 0.1 * noise, index % 3


@pytest.mark.parametrize("generator", [None, torch.Generator().manual_seed(1)])
def test_augmented_data_are_named_in_a_warning(generator):
    loader = torch.utils.data.DataLoader(Augmented(generator), batch_size=5, shuffle=True)
    H = flt.HessianOperator(mlp(), F.cross_entropy, loader)
    with pytest.warns(fl.AsymmetryWarning, match="shuffling loader, augmentation"):
        fl.lanczos(H, num_steps=5, seed=0)
    unchecked = flt.HessianOperator(mlp(), F.cross_entropy, loader, check=False)
    fl.lanczos(unchecked, num_steps=5, seed=0)


def test_a_shuffling_loader_of_fixed_samples_is_fine():
    data = torch.utils.data.TensorDataset(*(torch.cat(parts) for parts in zip(*batches(), strict=True)))
    loader = torch.utils.data.DataLoader(data, batch_size=5, shuffle=True)
    H = flt.HessianOperator(mlp(), F.cross_entropy, loader)
    assert_same(dense(H), cases.dense_hessian_of_all(mlp(), F.cross_entropy, batches()))


def test_functional_dropout_is_refused_or_fixed_by_a_seed():
    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            return self.net(F.dropout(x, 0.5, training=True))

    with pytest.raises(ValueError, match=r"draws random numbers.*model.eval\(\), or pass seed="):
        flt.HessianOperator(Dropping(), F.cross_entropy, batches()) @ torch.ones(53)
    H = flt.HessianOperator(Dropping(), F.cross_entropy, batches(), seed=3)
    assert fl.lanczos(H, num_steps=20, seed=0).asymmetry < 1e-14


def test_composed_losses_whose_parts_average_differently_are_refused():
    def loss_fn(z, y):
        return 2 * F.cross_entropy(z, y, CASE_WEIGHTS)

    CASE_WEIGHTS = cases.CLASS_WEIGHTS
    with pytest.raises(ValueError, match="combines several means"):
        flt.HessianOperator(mlp(), loss_fn, batches()) @ torch.ones(53)
    whole = [tuple(torch.cat(parts) for parts in zip(*batches(), strict=True))]
    assert_same(
        dense(flt.HessianOperator(mlp(), loss_fn, whole)), cases.dense_hessian_of_all(mlp(), loss_fn, batches())
    )


def test_eigenvectors_come_apart_into_parameters():
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    values, vectors = fl.eigsh(H, 3, which="LA")
    parts = H.unflatten(vectors[:, -1])
    assert {name: tuple(t.shape) for name, t in parts.items()}["0.weight"] == (5, 6)
    exact = cases.dense_hessian_of_all(mlp(), F.cross_entropy, batches())
    v = torch.cat([t.flatten() for t in parts.values()])
    assert torch.abs(exact @ v - values[-1] * v).max() < 1e-12


def test_the_same_schedule_gives_the_same_bits():
    data = batches(sizes=(16, 16, 5))
    H = flt.HessianOperator(mlp(), F.cross_entropy, data)
    first = fl.spectral_density(H, num_probes=4, num_steps=12, seed=0)
    other = flt.HessianOperator(mlp(), F.cross_entropy, data, schedule=H.schedule)
    again = fl.spectral_density(other, num_probes=4, num_steps=12, seed=0)
    np.testing.assert_array_equal(first.nodes, again.nodes)


def test_release_lets_go_of_the_graphs():
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    v = torch.ones(53, dtype=torch.float64)
    first = H @ v
    H.release()
    assert H._products.graphs is None
    assert torch.equal(H @ v, first)


def test_the_same_curvature_over_other_data():
    model, data = mlp(), batches((7, 7, 3))
    H = flt.FisherOperator(model, F.cross_entropy, data, params="0", kind="exact", weight_decay=0.5)
    part = H.on(data[:1])
    other = flt.FisherOperator(model, F.cross_entropy, data[:1], params="0", kind="exact", weight_decay=0.5)
    v = torch.ones(H.shape[0], dtype=torch.float64)
    assert torch.equal(part @ v, other @ v)
    assert not torch.equal(part @ v, H @ v)


def test_the_loss_and_the_samples_are_those_of_all_data():
    model, data = mlp(), batches((7, 7, 3))
    H = flt.HessianOperator(model, F.cross_entropy, data, weight_decay=0.1)
    whole = F.cross_entropy(model(torch.cat([x for x, _ in data])), torch.cat([y for _, y in data]))
    squares = sum(float((p**2).sum()) for p in model.parameters())
    assert abs(H.loss() - float(whole) - 0.05 * squares) < 1e-14
    assert H.num_samples == 17
