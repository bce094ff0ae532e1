"""The engine's calls as operators of torch.library; on a GPU, the emulated one."""

import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastlanczos as fl  # noqa: E402
from fastlanczos.engine.flat import BREAKDOWN, NOT_FINITE, NUMBERS, STEPS, flat_sizes  # noqa: E402
from fastlanczos.traceable import operators  # noqa: E402

RNG = np.random.default_rng(0)


def test_operators_keep_to_the_rules_of_torch_library():
    v = torch.ones(20, dtype=torch.float64)
    calls = [
        (operators.rotate, (torch.randn(4, 20).double(), torch.randn(2, 4).double())),
        (operators.quadrature, (torch.randn(3, 5).double(), torch.randn(3, 4).double())),
    ]
    for rows in ("float64", "float32", ""):
        run = operators.begin(v, 4, rows)
        calls += [(operators.begin, (v, 4, rows)), (operators.step, (*run, 2.0 * v)), (operators.read, run)]
    for operator, arguments in calls:
        checks = torch.library.opcheck(operator, arguments)
        assert set(checks.values()) == {"SUCCESS"}, (operator, checks)


def test_a_rotation_replaces_the_first_rows():
    rows, rotation = torch.randn(6, 501, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    before = rows.clone()
    operators.rotate(rows, rotation)
    np.testing.assert_allclose(rows[:3], rotation @ before, atol=1e-13)


def test_what_does_not_belong_together_is_refused():
    basis, candidate, recent, state = operators.begin(torch.ones(20, dtype=torch.float64), 4, "float64")
    for arrays in (
        (basis[:2], candidate, recent, state),
        (basis, candidate[:3], recent, state),
        (basis, candidate, recent, state[:, :1]),
        (basis.T, candidate, recent, state),
        (basis[:0], candidate, recent, state),  # no basis, and no room for the recent row
    ):
        with pytest.raises((ValueError, RuntimeError), match=r"expected|belong"):
            operators.step(*arrays, candidate)
    with pytest.raises(ValueError, match="dimension"):
        operators.step(basis, candidate, recent, state, candidate[:3].clone())
    with pytest.raises(ValueError, match="combinations"):
        operators.rotate(basis, torch.zeros(5, 4).double())


@pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")
@pytest.mark.parametrize("rows", ["float64", "float32", None])
@pytest.mark.parametrize("n", [203, 64, 1])
def test_a_run_on_a_gpu_without_a_word_to_the_host(gpu, monkeypatch, rows, n):
    import fake_gpu

    from fastlanczos.engine import flat

    monkeypatch.setattr(flat, "cuda", lambda: gpu.module)
    m = min(n, 10)
    d, v0 = RNG.normal(size=n), 1e-180 * RNG.normal(size=n)
    sizes = flat_sizes(n, m, rows, 0)
    kind = rows or "float64"
    shapes = (((sizes.rows, sizes.stride), kind), ((n,), "float64"), ((sizes.recent,), "float64"))
    run = [fake_gpu.Array.of(gpu, np.zeros(*shape)) for shape in (*shapes, ((m, sizes.width), "float64"))]
    there, start = fake_gpu.Array.of(gpu, d), fake_gpu.Array.of(gpu, v0)
    numbers = fake_gpu.Array.of(gpu, np.zeros(NUMBERS + 3 * m))
    gpu.expect(stream=0x5EED)
    waits = gpu.synchronizations
    gpu.module.begin_flat(*run, start, 0x5EED)
    for _ in range(m + 2):  # a run that is complete stays as it is
        gpu.module.step_flat(*run, there * run[1], 0x5EED)
    gpu.module.read_flat(*run, numbers, 0x5EED)
    assert gpu.synchronizations == waits
    assert gpu.strays == 0
    read = numbers.get()
    expected = fl.lanczos(
        lambda v: d * v, n, m, v0=v0, **({"reorthogonalize": "none"} if rows is None else {"basis_dtype": rows})
    )
    assert read[STEPS] == m
    assert read[NOT_FINITE] == 0.0
    np.testing.assert_allclose(read[NUMBERS : NUMBERS + m], expected.alpha, atol=1e-11)
    np.testing.assert_allclose(read[NUMBERS + m : NUMBERS + 2 * m - 1], expected.beta, atol=1e-11)
    if rows is not None:
        V = run[0].get()[:, :n].astype(float)
        np.testing.assert_allclose(V @ V.T, np.eye(m), atol=1e-13 if rows == "float64" else 1e-6)
    gpu.expect()


@pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation is compiled with g++")
def test_a_start_that_is_zero_or_not_finite_is_told_by_a_gpu(gpu, monkeypatch):
    import fake_gpu

    from fastlanczos.engine import flat

    monkeypatch.setattr(flat, "cuda", lambda: gpu.module)
    sizes = flat_sizes(8, 3, "float64", 0)
    for v0 in (np.zeros(8), np.full(8, np.nan), np.full(8, -np.inf)):
        shapes = ((3, sizes.stride), (8,), (0,), (3, sizes.width))
        run = [fake_gpu.Array.of(gpu, np.zeros(shape)) for shape in shapes]
        numbers = fake_gpu.Array.of(gpu, np.zeros(NUMBERS + 9))
        gpu.module.begin_flat(*run, fake_gpu.Array.of(gpu, v0), 0)
        gpu.module.step_flat(*run, fake_gpu.Array.of(gpu, np.ones(8)), 0)
        gpu.module.read_flat(*run, numbers, 0)
        assert (numbers.get()[[STEPS, BREAKDOWN, NOT_FINITE]] == [0, 1, 1]).all()
    small, start = (fake_gpu.Array.of(gpu, np.ones(shape)) for shape in ((3, 4), 8))
    with pytest.raises(ValueError, match="as much memory as its engine asks for"):
        gpu.module.begin_flat(*run[:3], small, start, 0)
