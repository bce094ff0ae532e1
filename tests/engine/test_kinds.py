import numpy as np
import pytest
import torch

from fastlanczos.engine.host_run import HostRun
from fastlanczos.engine.kinds import NumpyKind, TorchKind, kind_like, tensors


@pytest.mark.parametrize("x", [None, [1.0, 2.0], np.ones(3), np.ones(3, np.float32)])
def test_whatever_is_no_array_of_a_framework_counts_as_numpy(x):
    kind = kind_like(x, "v0")
    assert type(kind) is NumpyKind
    vector = np.ones(3)
    assert kind.argument(vector) is vector
    assert isinstance(kind.new_run(3, 2, "float64"), HostRun)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_tensor_gets_tensors_of_its_dtype(dtype):
    kind = kind_like(torch.ones(3, dtype=dtype), "v0")
    assert isinstance(kind, TorchKind)
    assert kind.argument(np.ones(3)).dtype == dtype
    block = kind.columns([np.ones(3), np.zeros(3)])
    assert block.shape == (3, 2)
    assert block.dtype == dtype
    rows = np.ones((2, 3))
    assert kind.output(rows).numpy().__array_interface__["data"] == rows.__array_interface__["data"]


@pytest.mark.parametrize("x", [np.ones(3, complex), np.ones(3, np.complex64), [1j, 2.0]])
def test_complex_vectors_are_complex128(x):
    kind = kind_like(x, "v0")
    assert kind.is_complex
    assert kind.empty((2, 3)).dtype == np.complex128
    assert kind.new_run(3, 2, "float32").basis.dtype == np.complex64


def test_complex_tensors_keep_their_precision():
    kind = kind_like(torch.ones(3, dtype=torch.complex64), "v0")
    assert kind.is_complex
    assert kind.argument(np.ones(3, complex)).dtype == torch.complex64


def test_a_kind_stands_for_itself():
    kind = tensors("float64")
    assert kind_like(kind, "like") is kind


def test_a_tensor_of_another_dtype_is_told():
    with pytest.raises(TypeError, match=r"like has dtype torch.float16; want float64, float32, complex128"):
        kind_like(torch.ones(3, dtype=torch.float16), "like")


def test_numpy_has_the_memory_of_the_system():
    assert 2**20 < NumpyKind().available_memory() < 2**50
