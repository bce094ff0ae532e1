"""fastlanczos/curvature/schedule_choice.py: what a look at the first batch finds, through the operators that use it."""

import pytest

torch = pytest.importorskip("torch")

from cases.networks import batches, convolutional, dense_hessian, images, mlp, seeded  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402
from fastlanczos.curvature import products as curvature  # noqa: E402
from fastlanczos.curvature import schedule_choice as planning  # noqa: E402

nn, F = torch.nn, torch.nn.functional


def schedule_of(model, data, **options):
    H = flt.HessianOperator(model, F.cross_entropy, data, **options)
    _ = H @ torch.ones(H.shape[0], dtype=torch.float64)
    return H.schedule


def clock(monkeypatch, *times):
    """Answers of the stop watch, the last one again and again."""
    answers = list(times)

    def seconds(work):
        work()
        return answers.pop(0) if len(answers) > 1 else answers[0]

    monkeypatch.setattr(planning, "seconds", seconds)


@pytest.mark.parametrize(("slow", "fast", "last"), [(1.0, 0.5, True), (1.0, 0.95, False), (1.0, 2.0, False)])
def test_channels_go_last_where_a_trial_is_clearly_faster(monkeypatch, slow, fast, last):
    clock(monkeypatch, slow, slow, slow, fast)
    model, data = convolutional(), images()
    H = flt.HessianOperator(model, F.cross_entropy, data)
    product = H @ torch.eye(H.shape[0], dtype=torch.float64)
    assert H.schedule.channels_last is last
    assert ("channels last" in repr(H)) is last
    exact = dense_hessian(model, F.cross_entropy, data)
    assert torch.abs(product - exact).max() < 1e-13 * torch.linalg.matrix_norm(exact, 2)
    assert all(p.is_contiguous() for p in model.parameters())


def test_channels_last_stays_so_when_the_model_changes(monkeypatch):
    clock(monkeypatch, 1.0, 1.0, 1.0, 0.1)
    model, data = convolutional(), images()
    H = flt.HessianOperator(model, F.cross_entropy, data)
    eye = torch.eye(H.shape[0], dtype=torch.float64)
    _ = H @ eye
    with torch.no_grad():
        model[0].weight *= 1.5
    exact = dense_hessian(model, F.cross_entropy, data)
    assert torch.abs(H @ eye - exact).max() < 1e-13 * torch.linalg.matrix_norm(exact, 2)
    assert H.schedule.channels_last


def test_a_model_that_views_images_as_rows_keeps_them_as_they_are(monkeypatch):
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.out = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 2, 2), nn.Linear(18, 3)

        def forward(self, x):
            y = self.second(torch.tanh(self.first(x)))
            return self.out(y.view(len(y), -1))

    clock(monkeypatch, 1.0, 1.0, 1.0, 0.1)
    assert not schedule_of(seeded(Viewing).double(), images()).channels_last
    H = flt.HessianOperator(seeded(Viewing).double(), F.cross_entropy, images())
    H.reproducible()
    assert torch.isfinite(H @ torch.ones(H.shape[0])).all()
    assert not H.schedule.channels_last


def test_reproducible_operators_do_without_the_clock(monkeypatch):
    def impossible(work):
        raise AssertionError("looked at the clock")

    monkeypatch.setattr(planning, "seconds", impossible)
    monkeypatch.setattr(curvature, "pays_together", impossible)
    for make, data, together, last in ((mlp, batches(), 10, False), (convolutional, images(), 1, True)):
        H = flt.HessianOperator(make(), F.cross_entropy, data)
        H.reproducible()
        v = torch.randn(H.shape[0], 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        exact = dense_hessian(make(), F.cross_entropy, data)
        assert torch.abs(H @ v - exact @ v).max() < 1e-13 * torch.abs(exact @ v).max() * len(v)
        assert (H.schedule.together, H.schedule.channels_last) == (together, last)


def test_batches_are_put_together_only_where_samples_do_not_depend_on_one_another():
    assert schedule_of(mlp(), batches()).batch_size is not None
    assert schedule_of(convolutional(), images()).batch_size is None
    assert schedule_of(convolutional().eval(), images()).batch_size is not None
    # A loss that is not a sum over samples.
    H = flt.HessianOperator(mlp(), lambda z, y: F.cross_entropy(z, y) ** 2, batches())
    _ = H @ torch.ones(H.shape[0], dtype=torch.float64)
    assert H.schedule.batch_size is None


def test_images_are_not_tried_where_there_are_none(monkeypatch):
    def impossible(work):
        raise AssertionError("no trial was due")

    monkeypatch.setattr(planning, "seconds", impossible)
    assert not schedule_of(mlp(), batches()).channels_last
