import numpy as np
import pytest

import fastlanczos as fl
from fastlanczos.operators.operator import as_operator

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
A = RNG.normal(size=(50, 50))
A = A + A.T
EXACT = np.linalg.eigvalsh(A)


def test_a_tensor_gives_tensors():
    r = fl.lanczos(torch.from_numpy(A), num_steps=50, seed=0)
    assert isinstance(r.basis, torch.Tensor)
    assert isinstance(r.alpha, np.ndarray)
    values, vectors = r.eigh()
    assert values.dtype == vectors.dtype == torch.float64
    np.testing.assert_allclose(values.numpy(), EXACT, atol=1e-13 * np.abs(EXACT).max())
    assert np.abs(A @ vectors.numpy() - (vectors * values).numpy()).max() < 1e-12 * np.abs(EXACT).max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_a_tensor_of_any_float_multiplies_in_float64(dtype, layout):
    T = torch.from_numpy(A).to(dtype)
    exact = np.linalg.eigvalsh(T.double().numpy())
    r = fl.lanczos(T if layout == "dense" else T.to_sparse_csr(), num_steps=50, seed=0)
    np.testing.assert_allclose(r.quadrature()[0], exact, atol=1e-13 * np.abs(exact).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_callable_on_tensors_gets_the_dtype_of_its_start_vector(dtype):
    T, seen = torch.from_numpy(A).to(dtype), set()

    def matvec(v):
        seen.add(v.dtype)
        return T @ v

    r = fl.lanczos(matvec, num_steps=30, v0=torch.ones(50, dtype=dtype))
    assert seen == {dtype}
    assert r.basis.dtype == torch.float64
    assert abs(r.quadrature()[0][-1] - EXACT[-1]) < (1e-12 if dtype == torch.float64 else 1e-5) * EXACT[-1]


def test_products_that_require_gradients_are_detached():
    T = torch.from_numpy(A).requires_grad_()
    r = fl.lanczos(lambda v: T @ v, 50, 10, v0=torch.ones(50, dtype=torch.float64))
    assert not r.basis.requires_grad


def test_a_tensor_callable_without_a_tensor_to_start_from_is_told_what_to_do():
    T = torch.from_numpy(A)
    with pytest.raises(TypeError) as caught:
        fl.lanczos(lambda v: torch.mv(T, v), 50, 10, seed=0)
    assert any("pass v0 as a torch tensor" in note for note in caught.value.__notes__)


def test_spectral_density_takes_like_for_a_callable_on_tensors():
    T = torch.from_numpy(A)
    d = fl.spectral_density(lambda v: T @ v, 50, num_probes=2, seed=0, like=torch.ones(50, dtype=torch.float64))
    e = fl.spectral_density(T, num_probes=2, seed=0)
    np.testing.assert_allclose(d.nodes, e.nodes, atol=1e-13 * np.abs(EXACT).max())


class OnGpu:
    __cuda_array_interface__ = {"shape": (5, 5)}  # noqa: RUF012
    shape = (5, 5)

    def __matmul__(self, v):
        return v


GPU_CALLS = (
    lambda: fl.lanczos(OnGpu()),
    lambda: fl.lanczos(lambda v: v, 5, 2, v0=OnGpu()),
    lambda: fl.spectral_density(lambda v: v, 5, like=OnGpu()),
    lambda: fl.LanczosIteration(5, 2, like=OnGpu()),
)


@pytest.mark.parametrize("call", GPU_CALLS)
def test_arrays_on_a_gpu_without_the_engine_are_told_how_to_get_it(call, monkeypatch):
    monkeypatch.setattr("fastlanczos.engine.cuda._cuda", None)
    with pytest.raises(RuntimeError, match=r"need fastlanczos' CUDA engine.*FASTLANCZOS_CUDA=1"):
        call()


@pytest.mark.parametrize("call", GPU_CALLS)
def test_arrays_on_a_gpu_without_a_driver_are_told_what_was_found(call, monkeypatch):
    class Engine:
        def device_count():
            return 0

        def describe():
            return {"devices": [], "problem": "no CUDA-capable device", "runtime": 13000, "driver": 12040}

    monkeypatch.setattr("fastlanczos.engine.cuda._cuda", Engine)
    with pytest.raises(RuntimeError, match=r"no CUDA-capable device.*needs a driver for CUDA 13\.0, found 12\.4"):
        call()


def test_a_product_on_a_gpu_for_a_vector_on_the_cpu_is_told():
    with pytest.raises(TypeError, match="is on a GPU, but the vector was on the CPU"):
        fl.lanczos(lambda v: OnGpu(), 5, 2)


def test_tensors_on_other_devices_are_refused():
    for call in (
        lambda: fl.lanczos(torch.ones(5, 5, device="meta")),
        lambda: fl.lanczos(lambda v: v, 5, 2, v0=torch.ones(5, device="meta")),
        lambda: fl.lanczos(lambda v: torch.ones(5, device="meta"), 5, 2),
    ):
        with pytest.raises(TypeError, match="'meta' are not supported: move them to cpu or cuda"):
            call()


@pytest.mark.parametrize(
    ("tensor", "error", "message"),
    [
        (torch.ones(3, 4), ValueError, r"square, got shape \(3, 4\)"),
        (torch.ones(3, 3, dtype=torch.complex32), TypeError, "A has dtype complex32"),
    ],
)
def test_bad_tensors_are_told(tensor, error, message):
    with pytest.raises(error, match=message):
        fl.lanczos(tensor)
    with pytest.raises(TypeError, match=r"v0 has dtype torch\.int64"):
        fl.lanczos(lambda v: v, 3, v0=torch.ones(3, dtype=torch.int64))


def test_the_precision_of_an_operator_is_that_of_its_storage():
    assert as_operator(A).precision == 2.0**-52
    assert as_operator(A.astype(np.float32)).precision == 2.0**-23
    assert as_operator(torch.ones(2, 2, dtype=torch.bfloat16)).precision == 2.0**-7


def test_a_torch_module_is_told_how_it_becomes_an_operator():
    torch = pytest.importorskip("torch")
    for call in (fl.spectral_density, fl.lanczos, fl.eigsh, fl.trace):
        with pytest.raises(TypeError, match=r"torch module \(Linear\).*HessianOperator\(model, loss_fn, data\)"):
            call(torch.nn.Linear(2, 2))


def test_nested_lists_are_matrices():
    r = fl.lanczos([[2, 1], [1, 2]], seed=0)
    np.testing.assert_allclose(r.quadrature()[0], [1.0, 3.0], atol=1e-14)
