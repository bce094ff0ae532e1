"""fastlanczos/tracking/measurement.py: against the dense Hessian, and as a record."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cases.networks import batches, dense_hessian, mlp  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402

F = torch.nn.functional


@pytest.fixture(scope="module")
def measured():
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    H.reproducible()
    return flt.measure(H, step=7, learning_rate=0.1, k=5, num_probes=40, num_steps=60), H


def test_numbers_are_those_of_the_dense_hessian(measured):
    m, H = measured
    exact = torch.linalg.eigvalsh(dense_hessian(mlp(), F.cross_entropy, batches())).numpy()
    norm = np.abs(exact).max()
    assert np.abs(m.top - exact[::-1][:5]).max() < 1e-5 * norm  # of the tolerance of a measurement's eigenpairs
    assert abs(m.smallest - exact[0]) < 1e-10 * norm
    assert abs(m.largest - exact[-1]) < 1e-10 * norm
    assert abs(m.trace - exact.sum()) < 4 * m.trace_std_error
    assert abs(m.negative_mass - np.abs(exact[exact < 0]).sum() / np.abs(exact).sum()) < 0.05
    assert m.ratio == m.top[0] / m.top[-1]
    assert (m.step, m.learning_rate, m.samples, m.dim) == (7, 0.1, 17, H.shape[0])
    assert m.loss == H.loss()
    assert abs(m.gradient_norm - float(H.gradient().norm())) < 1e-14
    assert abs(m.gradient_weights.sum() - 1) < 1e-12
    assert np.all(np.diff(m.concentration) >= 0)


def test_the_same_seed_gives_the_same_record(measured):
    m, H = measured
    again = flt.measure(H, step=7, learning_rate=0.1, k=5, num_probes=40, num_steps=60)
    assert again.to_json() == m.to_json()


def test_a_record_keeps_every_bit(measured):
    m, _ = measured
    back = flt.Measurement.from_json(m.to_json())
    assert back.to_json() == m.to_json()
    assert np.array_equal(back.nodes, m.nodes)
    assert back.nodes.shape == (40, m.nodes.shape[1])
    assert np.allclose(back.density.mean, m.density.mean)


def test_a_damaged_record_is_told(measured):
    m, _ = measured
    text = m.to_json()
    with pytest.raises(ValueError, match="not a complete record"):
        flt.Measurement.from_json(text[: len(text) // 2])
    with pytest.raises(ValueError, match="checksum does not fit"):
        flt.Measurement.from_json(text.replace('"step": 7', '"step": 8'))
    with pytest.raises(ValueError, match="format is 99, this fastlanczos reads up to 1"):
        flt.Measurement.from_json(json.dumps(json.loads(text) | {"format": 99}))
    with pytest.raises(ValueError, match="not a complete record"):
        flt.Measurement.from_json("[]")


def test_one_probe_has_no_standard_error():
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches())
    m = flt.measure(H, k=2, num_probes=1, num_steps=10)
    assert np.isnan(m.trace_std_error)
    assert set(m.summary()) >= {"step", "loss", "trace", "ratio", "concentration", "negative_mass"}
