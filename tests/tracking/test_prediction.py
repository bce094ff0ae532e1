"""fastlanczos/tracking/prediction.py: exact where the loss is a quadratic."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastlanczos.torch as flt  # noqa: E402


def test_gradient_descent_on_a_quadratic_is_predicted_exactly():
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.standard_normal((30, 30)))[0]
    values = np.concatenate([np.linspace(-0.1, 1, 27), [5.0, 8.0, 10.0]])
    A, x = (basis * values) @ basis.T, generator.standard_normal(30)
    losses, gradient = [], A @ x
    for _ in range(41):
        losses.append(0.5 * x @ A @ x)
        x = x - 0.1 * A @ x
    energy = (basis.T @ gradient) ** 2 / (gradient @ gradient)
    predicted = flt.predict_loss(losses[0], np.linalg.norm(gradient), values, energy, 0.1, 40)
    assert np.abs(predicted - losses).max() < 1e-13 * losses[0] * 40


def test_descent_on_least_squares_is_predicted_from_a_measurement():
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(50, n, generator=g, dtype=torch.float64) for n in (6, 2))
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 2).double()
    H = flt.HessianOperator(model, torch.nn.functional.mse_loss, (x, y))
    m = flt.measure(H, k=3, num_probes=1, num_steps=14)
    rate = 1 / m.largest
    predicted = flt.predict_loss(m.loss, m.gradient_norm, m.gradient_nodes, m.gradient_weights, rate, 25)
    losses = []
    for _ in range(26):
        losses.append(H.loss())
        with torch.no_grad():
            for p, d in zip(model.parameters(), H.unflatten(H.gradient()).values(), strict=True):
                p -= rate * d
    assert np.abs(predicted - losses).max() < 1e-12 * losses[0]


def test_no_digits_are_lost_at_flat_directions():
    predicted = flt.predict_loss(1.0, 1.0, [1e-18], [1.0], 0.5, 2)
    assert np.array_equal(predicted, [1.0, 0.5, 0.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [1.0]}, r"one shape \(m,\), got \(2,\) and \(1,\)"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number, got 0.0"),
        ({"num_steps": -1}, "num_steps must not be negative, got -1"),
    ],
)
def test_wrong_arguments_are_told(change, message):
    arguments = {"loss": 1.0, "gradient_norm": 1.0, "nodes": [1.0, 2.0], "weights": [0.5, 0.5]}
    arguments |= {"learning_rate": 0.1, "num_steps": 3} | change
    with pytest.raises(ValueError, match=message):
        flt.predict_loss(**arguments)
