"""fastlanczos/model/batches.py, through HessianOperator."""

import pytest

torch = pytest.importorskip("torch")
from cases.networks import batches, mlp  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402

nn, F = torch.nn, torch.nn.functional


@pytest.mark.parametrize(
    ("loss_fn", "options"),
    [
        (nn.CrossEntropyLoss(), {}),
        (nn.CrossEntropyLoss(reduction="sum"), {}),
        (nn.CrossEntropyLoss(reduction="none"), {}),
        (lambda o, y: F.cross_entropy(o, y, reduction="sum"), {"reduction": "sum"}),
        (lambda o, y: F.cross_entropy(o, y, reduction="none"), {}),
    ],
)
def test_the_mean_is_over_samples_whatever_the_batches_and_the_reduction(loss_fn, options):
    v = torch.linspace(-1, 1, 53, dtype=torch.float64)
    inputs, targets = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    expected = flt.HessianOperator(mlp(), F.cross_entropy, (inputs, targets)) @ v
    for data in (
        batches(),
        [(inputs, targets)],
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=4),
    ):
        H = flt.HessianOperator(mlp(), loss_fn, data, **options)
        assert torch.abs(H @ v - expected).max() < 1e-14


def test_batches_of_another_form_go_through_forward():
    data = [{"x": x, "y": y} for x, y in batches()]
    H = flt.HessianOperator(mlp(), F.cross_entropy, data, forward=lambda model, b: (model(b["x"]), b["y"]))
    v = torch.ones(53, dtype=torch.float64)
    assert torch.equal(H @ v, flt.HessianOperator(mlp(), F.cross_entropy, batches()) @ v)
