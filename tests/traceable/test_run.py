"""Lanczos inside of what torch.compile makes."""

import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastlanczos as fl  # noqa: E402
import fastlanczos.torch as flt  # noqa: E402

N, M = 203, 12
OPTIONS = [{}, {"basis_dtype": "float32"}, {"reorthogonalize": "none"}]


@pytest.fixture
def d():
    return torch.randn(N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def v0():
    return torch.randn(N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def assert_is(r, expected):
    """Assert that the bits are those of fl.lanczos."""
    np.testing.assert_array_equal(r.alpha, expected.alpha)
    np.testing.assert_array_equal(r.beta, expected.beta)
    assert int(r.num_steps) == len(expected.alpha)
    assert bool(r.is_finite)
    np.testing.assert_allclose(float(r.residual_norm), expected.residual_norm, rtol=1e-12)
    if expected.basis is None:
        assert r.basis is None
    else:
        np.testing.assert_array_equal(r.basis, expected.basis)


@pytest.mark.parametrize("options", OPTIONS, ids=["float64", "float32", "none"])
@pytest.mark.parametrize("scale", [1.0, 1e200])
def test_a_run_has_the_bits_of_the_ordinary_one(d, v0, options, scale):
    r = flt.lanczos(lambda v: scale * d * v, v0, M, **options)
    assert_is(r, fl.lanczos(lambda v: scale * d * v, N, M, v0=v0, **options))


@pytest.mark.parametrize("options", OPTIONS, ids=["float64", "float32", "none"])
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_program_has_no_break(d, v0, options, backend):
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("inductor compiles with g++")

    def program(d, v):
        r = flt.lanczos(lambda x: d * x, v, M, **options)
        nodes, weights = flt.quadrature(r.alpha, r.beta)
        return r, (weights * torch.exp(nodes)).sum()

    r, value = torch.compile(program, fullgraph=True, backend=backend)(d, v0)
    assert_is(r, fl.lanczos(lambda v: d * v, N, M, v0=v0, **options))
    expected = program(d, v0)[1]
    assert abs(value - expected) < 1e-14 * expected


def test_products_in_float32_take_and_give_float32(d, v0):
    seen = set()

    def product(v):
        seen.add(v.dtype)
        return d.float() * v

    r = flt.lanczos(product, v0.float(), M)
    expected = fl.lanczos(lambda v: d.float() * v, N, M, v0=v0.float())
    assert seen == {torch.float32}
    np.testing.assert_array_equal(r.alpha, expected.alpha)


def test_a_product_may_write_into_its_argument(d, v0):
    r = flt.lanczos(lambda v: v.mul_(d), v0, M)
    assert_is(r, fl.lanczos(lambda v: d * v, N, M, v0=v0))


def test_an_invariant_space_and_what_is_not_finite_end_a_run(v0):
    two = torch.where(torch.arange(N) < 100, 1.0, 3.0).double()
    r = flt.lanczos(lambda v: two * v, v0, M)
    assert int(r.num_steps) == 2
    assert bool(r.is_finite)
    assert not r.alpha[2:].any()
    assert not r.beta[1:].any()
    assert not r.basis[2:].any()
    assert float(r.residual_norm) < 1e-13
    bad = flt.lanczos(lambda v: v + torch.inf, v0, M)
    assert int(bad.num_steps) == 0
    assert not bool(bad.is_finite)
    for start in (torch.zeros(N), torch.full((N,), torch.nan)):
        none = flt.lanczos(lambda v: v, start.double(), M)
        assert int(none.num_steps) == 0
        assert not bool(none.is_finite)
        assert float(none.residual_norm) == 0.0


def test_more_steps_than_the_dimension_are_not_made():
    r = flt.lanczos(lambda v: torch.arange(3.0).double() * v, torch.ones(3, dtype=torch.float64), 50)
    assert r.alpha.shape == (3,)
    assert r.basis.shape == (3, 3)
    np.testing.assert_allclose(flt.quadrature(r.alpha, r.beta)[0], [0, 1, 2], atol=1e-14)


def test_a_lost_gradient_is_an_error(d, v0):
    leaf = d.clone().requires_grad_()
    with pytest.raises(TypeError, match="detach the product, or call flt"):
        flt.lanczos(lambda v: leaf * v, v0, M)
    with torch.no_grad():
        assert_is(flt.lanczos(lambda v: leaf * v, v0, M), fl.lanczos(lambda v: d * v, N, M, v0=v0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((lambda v: v, torch.ones(3, 3), 2), "vector of float64 or float32, got shape"),
        ((lambda v: v, torch.ones(3, dtype=torch.int64), 2), "got shape .* dtype torch.int64"),
        ((lambda v: v[:2], torch.ones(3), 2), "must return tensors of shape"),
    ],
)
def test_wrong_arguments_are_told(arguments, message):
    with pytest.raises(TypeError, match=message):
        flt.lanczos(*arguments)


def test_wrong_options_are_told(v0):
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        flt.lanczos(lambda v: v, v0, 0)
    with pytest.raises(ValueError, match="basis_dtype"):
        flt.lanczos(lambda v: v, v0, 2, basis_dtype="float16")


def test_quadrature_is_that_of_numpy_arrays():
    generator = torch.Generator().manual_seed(2)
    alpha, beta = (torch.randn(2, 3, k, generator=generator, dtype=torch.float64) for k in (9, 8))
    nodes, weights = flt.quadrature(alpha, beta)
    expected = fl.quadrature(alpha.numpy(), beta.numpy())
    np.testing.assert_array_equal(nodes, expected[0])
    np.testing.assert_array_equal(weights, expected[1])
    alpha[1, 2, 3] = torch.nan
    assert torch.isnan(flt.quadrature(alpha, beta)[0]).sum() == 9
    assert flt.quadrature(torch.tensor([2.5]), torch.empty(0))[0].tolist() == [2.5]
    with pytest.raises(ValueError, match="want alpha"):
        flt.quadrature(alpha, alpha)
