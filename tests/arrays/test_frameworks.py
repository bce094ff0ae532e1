"""What fastlanczos asks of a framework, as far as it can be asked without a GPU; test_gpu.py asks the rest."""

import numpy as np
import pytest
import torch

from fastlanczos.arrays.frameworks import FRAMEWORKS, framework_of

RNG = np.random.default_rng(0)


def test_an_array_of_no_known_framework_is_told():
    with pytest.raises(
        TypeError, match=r"v0 is a builtins\.list on a GPU; supported are arrays of torch, CuPy, JAX and Numba"
    ):
        framework_of([], "v0")


def test_torch_converts_and_arranges_without_copies_it_does_not_need():
    framework = framework_of(torch.empty(1), "v0")
    x = torch.tensor(RNG.normal(size=5), requires_grad=True)
    assert framework.cast(x, "float64").data_ptr() == x.data_ptr()
    assert not framework.cast(x, "float64").requires_grad
    assert framework.cast(x, "float32").dtype == torch.float32
    vectors = [torch.tensor(RNG.normal(size=5)) for _ in range(3)]
    block = framework.columns(vectors)
    assert block.shape == (5, 3)
    rows = framework.rows(block)
    assert rows.is_contiguous()
    torch.testing.assert_close(rows, torch.stack(vectors))
    assert framework.empty((2, 3), "int32").dtype == torch.int32
    z = torch.tensor([1.0 + 2.0j, 3.0], requires_grad=True).conj()
    np.testing.assert_array_equal(framework.to_numpy(z), [1.0 - 2.0j, 3.0])
    assert framework.from_numpy(np.array([1.0, 2.0], np.float32)).dtype == torch.float32


def test_jax_hands_out_copies_and_wants_float64():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64  # other tests of this process may have switched it on
    try:
        jax.config.update("jax_enable_x64", False)
        with pytest.raises(TypeError, match="jax_enable_x64"):
            FRAMEWORKS["jax"](jax.numpy.zeros(1))
        jax.config.update("jax_enable_x64", True)
        framework = framework_of(jax.numpy.zeros(1), "v0")
        x = jax.numpy.asarray(RNG.normal(size=4))
        assert framework.cast(x, "float64").unsafe_buffer_pointer() != x.unsafe_buffer_pointer()
        assert framework.columns([x, x]).shape == (4, 2)
        assert framework.rows(framework.columns([x, x])).shape == (2, 4)
        assert framework.empty((2, 3), "float32").dtype == np.float32
        np.testing.assert_array_equal(framework.to_numpy(framework.from_numpy(np.arange(3.0))), np.arange(3.0))
    finally:
        jax.config.update("jax_enable_x64", before)
