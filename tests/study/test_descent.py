"""fastlanczos/study/descent.py: on a loss that is a quadratic, where everything is known."""

import pytest

torch = pytest.importorskip("torch")

import fastlanczos.torch as flt  # noqa: E402
from fastlanczos.study.descent import descend, experiments  # noqa: E402


@pytest.fixture
def regression():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 12, generator=g, dtype=torch.float64)
    x[:, :2] *= 6  # two outliers
    y = torch.randn(60, 1, generator=g, dtype=torch.float64)
    torch.manual_seed(0)
    model = torch.nn.Linear(12, 1, bias=False).double()
    return model, lambda model: flt.HessianOperator(model, torch.nn.functional.mse_loss, (x, y))


def test_descent_is_that_of_torchs_optimizer(regression):
    model, operator = regression
    before = model.weight.detach().clone()
    losses = descend(operator, model, 0.01, 5)
    assert torch.equal(model.weight, before)
    x, y = operator(model).data
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for loss in losses:
        found = torch.nn.functional.mse_loss(model(x), y)
        assert abs(found.item() - loss) < 1e-13
        optimizer.zero_grad()
        found.backward()
        optimizer.step()


def test_outliers_decide_how_fast_descent_is_and_the_model_predicts_it(regression):
    model, operator = regression
    found = experiments(operator, model, k=3, num_steps=20, seed=0)
    assert found["largest"] > 5 * found["edge"]
    assert max(abs(a - b) for a, b in zip(found["plain"], found["predicted"], strict=True)) < 1e-10
    assert found["removed"][-1] < found["plain"][-1] < found["added"][-1] < found["plain"][0]
    assert len(found["plain"]) == 21
