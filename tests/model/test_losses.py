"""fastlanczos/model/losses.py, through HessianOperator: what the mean over all samples is."""

import functools

import pytest

torch = pytest.importorskip("torch")
from cases import curvature as cases  # noqa: E402
from cases.networks import batches, mlp  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402

nn, F = torch.nn, torch.nn.functional
WEIGHTS = cases.CLASS_WEIGHTS

# loss given -> loss of one batch of everything whose Hessian is wanted
SAME = {
    "partial": (functools.partial(F.cross_entropy, weight=WEIGHTS), functools.partial(F.cross_entropy, weight=WEIGHTS)),
    "weighted and ignored": (
        nn.CrossEntropyLoss(weight=WEIGHTS, ignore_index=2),
        nn.CrossEntropyLoss(weight=WEIGHTS, ignore_index=2),
    ),
    "sum, by samples": (
        nn.CrossEntropyLoss(weight=WEIGHTS, reduction="sum"),
        lambda z, y: F.cross_entropy(z, y, WEIGHTS, reduction="sum") / len(y),
    ),
    "none, by values": (
        lambda z, y: F.cross_entropy(z, y, WEIGHTS, reduction="none"),
        lambda z, y: F.cross_entropy(z, y, WEIGHTS, reduction="none").mean(),
    ),
    "smoothed and weighted": (
        nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.2),
        nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.2),
    ),
    "soft targets": (
        lambda z, y: F.cross_entropy(z, F.one_hot(y, 3).double() * 0.7 + 0.1),
        lambda z, y: F.cross_entropy(z, F.one_hot(y, 3).double() * 0.7 + 0.1),
    ),
    "binary": (
        lambda z, y: F.binary_cross_entropy_with_logits(z, F.one_hot(y, 3).double(), WEIGHTS),
        lambda z, y: F.binary_cross_entropy_with_logits(z, F.one_hot(y, 3).double(), WEIGHTS),
    ),
    "two plain means": (
        lambda z, y: F.cross_entropy(z, y) + 0.1 * F.mse_loss(z, torch.zeros_like(z)),
        lambda z, y: F.cross_entropy(z, y) + 0.1 * F.mse_loss(z, torch.zeros_like(z)),
    ),
    "huber": (
        lambda z, y: F.huber_loss(z, torch.ones_like(z), delta=0.3),
        lambda z, y: F.huber_loss(z, torch.ones_like(z), delta=0.3),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_batches_are_put_together_as_torch_would_in_one(name):
    loss_fn, whole = SAME[name]
    H = flt.HessianOperator(mlp(), loss_fn, batches())
    exact = cases.dense_hessian_of_all(mlp(), whole, batches())
    product = H @ torch.eye(53, dtype=torch.float64)
    assert torch.abs(product - exact).max() <= 1e-12 * torch.linalg.matrix_norm(exact, 2)


def test_a_batch_whose_targets_are_all_ignored_counts_nothing():
    data = [*batches(), (batches()[0][0], torch.full((7,), -100))]
    H = flt.HessianOperator(mlp(), F.cross_entropy, data)
    plain = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    v = torch.linspace(-1, 1, 53, dtype=torch.float64)
    assert torch.abs(H @ v - plain @ v).max() < 1e-14
    nothing = flt.HessianOperator(mlp(), F.cross_entropy, data[-1:])
    with pytest.raises(ValueError, match="every target is ignored"):
        nothing @ v


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (torch.full((7,), 3), IndexError, "targets go from 3 to 3, but there are 3 classes"),
        (torch.zeros(5, dtype=torch.int64), ValueError, "7 rows of logits and 5 targets"),
    ],
)
def test_targets_that_do_not_fit_the_outputs_are_told(target, error, message):
    H = flt.HessianOperator(mlp(), F.cross_entropy, [(batches()[0][0], target)])
    with pytest.raises(error, match=message):
        H @ torch.ones(53)


def test_a_model_without_a_loss_is_told():
    H = flt.HessianOperator(mlp(), None, [{"input": x} for x, _ in batches()])
    with pytest.raises(TypeError, match="the model must compute its own loss, but its output"):
        H @ torch.ones(53)
