"""fastlanczos/curvature/fisher.py: products against outer products of each sample's gradient."""

import pytest

torch = pytest.importorskip("torch")
from cases import curvature as cases  # noqa: E402
from cases.networks import batches, convolutional, images, mlp  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402

nn, F = torch.nn, torch.nn.functional


def dense(A):
    return A @ torch.eye(A.shape[0], dtype=torch.float64)


def gradients(model, terms, data):
    """Row i: the gradient of terms(outputs, targets)[i] of all samples."""
    theta, f = cases.flat_function(model)
    y = torch.cat([y for _, y in data])
    return torch.autograd.functional.jacobian(lambda t: terms(torch.cat([f(t, x) for x, _ in data]), y), theta)


def assert_same(product, exact):
    assert torch.abs(product - exact).max() <= 1e-12 * torch.linalg.matrix_norm(exact, 2)


PER_TERM = {
    "cross entropy": (mlp, F.cross_entropy, batches, lambda z, y: F.cross_entropy(z, y, reduction="none"), None),
    "ignored": (
        mlp,
        lambda z, y: F.cross_entropy(z, y, ignore_index=1),
        batches,
        lambda z, y: F.cross_entropy(z, y, reduction="none"),
        lambda y: (y != 1).double(),
    ),
    "weighted": (
        mlp,
        nn.CrossEntropyLoss(weight=cases.CLASS_WEIGHTS),
        batches,
        lambda z, y: F.cross_entropy(z, y, reduction="none"),
        lambda y: cases.CLASS_WEIGHTS[y],
    ),
    "a loss of one's own": (
        mlp,
        lambda z, y: ((z - 1) ** 4).sum(1).mean(),
        batches,
        lambda z, y: ((z - 1) ** 4).sum(1),
        None,
    ),
    "one value a sample": (
        mlp,
        lambda z, y: F.cross_entropy(z, y, reduction="none"),
        batches,
        lambda z, y: F.cross_entropy(z, y, reduction="none"),
        None,
    ),
    "regression": (mlp, F.mse_loss, cases.regression, lambda z, y: ((z - y) ** 2).mean(1), None),
    "regression, summed": (
        mlp,
        nn.MSELoss(reduction="sum"),
        cases.regression,
        lambda z, y: ((z - y) ** 2).sum(1),
        None,
    ),
    "tokens": (
        cases.double(cases.Transformer),
        F.cross_entropy,
        lambda: cases.tokens(ignored=True),
        lambda z, y: F.cross_entropy(z, y, reduction="none").flatten(),
        lambda y: (y != -100).double().flatten(),
    ),
    "batch norm in training": (
        convolutional,
        F.cross_entropy,
        images,
        lambda z, y: F.cross_entropy(z, y, reduction="none"),
        None,
    ),
}


@pytest.mark.parametrize("name", PER_TERM)
def test_the_empirical_one_is_the_mean_of_outer_products(name):
    make, loss_fn, data, terms, weights = PER_TERM[name]
    g = gradients(make(), terms, data())
    w = torch.ones(len(g)).double() if weights is None else weights(torch.cat([y for _, y in data()]))
    exact = (g.T * w) @ g / w.sum()
    assert_same(dense(flt.FisherOperator(make(), loss_fn, data())), exact)


@pytest.mark.parametrize(
    "name", ["MLP, ragged last batch", "MLP, weighted", "MLP, regression", "transformer, tokens ignored"]
)
def test_the_exact_one_is_the_gauss_newton_matrix(name):
    make, loss_fn, data, options = cases.CASES[name]
    A = flt.FisherOperator(make(), loss_fn, data(), kind="exact", **options)
    assert_same(dense(A), cases.dense_ggn(make(), loss_fn, data()))


def test_the_exact_one_is_the_expectation_over_the_models_own_targets():
    model, data = mlp(), batches()
    p = torch.softmax(torch.cat([model(x) for x, _ in data]).detach(), 1)
    exact = 0
    for c in range(3):
        g = gradients(mlp(), lambda z, y, c=c: F.cross_entropy(z, torch.full_like(y, c), reduction="none"), data)
        exact = exact + (g.T * p[:, c]) @ g / len(p)
    assert_same(dense(flt.FisherOperator(model, F.cross_entropy, data, kind="exact")), exact)


@pytest.mark.parametrize(("loss_fn", "data"), [(F.cross_entropy, batches), (F.mse_loss, cases.regression)])
def test_draws_come_closer_to_the_exact_one_and_are_the_same_in_every_product(loss_fn, data):
    exact = dense(flt.FisherOperator(mlp(), loss_fn, data(), kind="exact"))
    state = torch.get_rng_state()
    errors = []
    for draws in (10, 1000):
        A = flt.FisherOperator(mlp(), loss_fn, data(), kind="monte-carlo", num_draws=draws, draw_seed=1)
        product = dense(A)
        assert_same(dense(A), product)
        again = flt.FisherOperator(mlp(), loss_fn, data(), kind="monte-carlo", num_draws=draws, draw_seed=1)
        assert_same(dense(again), product)
        errors.append(float(torch.linalg.matrix_norm(product - exact) / torch.linalg.matrix_norm(exact)))
    assert errors[1] < 0.1
    assert errors[1] < errors[0] / 3
    assert torch.equal(state, torch.get_rng_state())


def test_what_has_no_distribution_is_told():
    A = flt.FisherOperator(mlp(), lambda z, y: (z**4).mean(), batches(), kind="exact")
    with pytest.raises(ValueError, match="the negative logarithm of a known distribution"):
        A @ torch.ones(53)
    with pytest.raises(ValueError, match="kind must be one of empirical, exact, monte-carlo; got 'type-2'"):
        flt.FisherOperator(mlp(), F.cross_entropy, batches(), kind="type-2")
