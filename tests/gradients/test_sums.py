"""flt.trace and flt.logdet: values as fl's, gradients unbiased, exact where they are exact."""

import warnings

import numpy as np
import pytest
import torch
from cases.gradients import FUNCTIONS, dense_function, gradients, hyperparameters, kernel, named

import fastlanczos as fl
import fastlanczos.torch as flt

N = 120


@pytest.fixture(scope="module")
def points():
    return torch.from_numpy(np.random.default_rng(0).uniform(size=(N, 2)))


def test_logdet_of_a_kernel_is_unbiased(points):
    inputs = hyperparameters()
    exact = gradients(torch.logdet(kernel(points, *inputs)), inputs)
    found, values = [], []
    for seed in range(20):
        e = flt.logdet(kernel(points, *inputs), num_probes=10, num_steps=N, method="hutchinson", seed=seed)
        values.append(float(e))
        found.append(gradients(e.value, inputs))
    found = torch.stack(found)
    error = found.std(0) / 20**0.5
    assert (error > 1e-9 * exact.abs()).all()  # it is an estimate
    assert ((found.mean(0) - exact).abs() < 4 * error).all()
    options = {"num_probes": 10, "num_steps": N, "method": "hutchinson", "seed": 0}
    without = fl.logdet(kernel(points, *inputs).detach(), **options)
    assert abs(values[0] - without.value) < 1e-9 * abs(without.value)


class Told:
    """A kernel as an object that tells its diagonal and columns; with `differentiable` the diagonal has a graph."""

    def __init__(self, K, differentiable):
        self.K, self.shape, self.dtype, self.differentiable = K, K.shape, K.dtype, differentiable

    def matmat(self, block):
        """Return K times columns."""
        return self.K @ block

    def matvec(self, v):
        """Return K v."""
        return self.K @ v

    def diagonal(self):
        """Return the diagonal."""
        return (self.K if self.differentiable else self.K.detach()).diagonal()

    def columns(self, indices):
        """Return some columns."""
        return self.K.detach()[:, indices]


@pytest.mark.parametrize("differentiable", [True, False])
def test_an_object_that_tells_its_diagonal_is_controlled_as_a_matrix_is(points, differentiable):
    inputs = hyperparameters()
    options = {"preconditioner": 20, "diagonal": 0.05, "num_probes": 4, "num_steps": 30, "seed": 0}
    K = kernel(points, *inputs)
    exact = gradients(flt.logdet(K, **options).value, inputs)
    found = gradients(flt.logdet(Told(kernel(points, *inputs), differentiable), **options).value, inputs)
    away = (found - exact).abs().max() / exact.abs().max()
    assert away < 1e-9 if differentiable else away > 1e-4


@pytest.mark.parametrize("form", ["closure", "module", "linear_operator", "sparse"])
def test_every_form_gives_what_the_matrix_gives(points, form):
    inputs = hyperparameters()
    options = {"num_probes": 8, "num_steps": 40, "seed": 3}
    K = kernel(points, *inputs)
    wanted = flt.logdet(kernel(points, *inputs), **options)
    if form == "closure":
        found = flt.logdet(lambda v: kernel(points, *inputs) @ v, N, **options)
    elif form == "module":

        class Kernel(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.p = torch.nn.ParameterList([x.detach().clone() for x in inputs])

            def forward(self, v):
                return kernel(points, *self.p) @ v

        module = Kernel()
        found = flt.logdet(module, N, **options)
    elif form == "linear_operator":
        linear_operator = pytest.importorskip("linear_operator")
        found = flt.logdet(linear_operator.to_linear_operator(K), **options)
    else:
        found = flt.logdet(K.to_sparse(), **options)
    assert abs(float(found) - float(wanted)) < 1e-9 * abs(float(wanted))
    at = list(module.p) if form == "module" else inputs
    torch.testing.assert_close(gradients(found.value, at), gradients(wanted.value, inputs), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("fun", FUNCTIONS, ids=named)
def test_exact_sums_have_the_gradients_of_dense_autograd(points, fun):
    inputs = hyperparameters()
    wanted = dense_function(kernel(points, *inputs), fun).trace()
    exact = gradients(wanted, inputs)
    for A, dim in ((kernel(points, *inputs), None), (lambda v: kernel(points, *inputs) @ v, N)):
        e = flt.trace(A, fun, dim, method="exact")
        assert e.info["method"] == "exact"
        assert abs(float(e) - float(wanted.detach())) < 1e-8 * abs(float(wanted.detach()))
        torch.testing.assert_close(gradients(e.value, inputs), exact, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("fun", FUNCTIONS, ids=named)
@pytest.mark.parametrize("method", ["hutchinson", "deflated"])
def test_gradients_of_estimates_are_within_their_errors(points, fun, method):
    inputs = hyperparameters()
    exact = gradients(dense_function(kernel(points, *inputs), fun).trace(), inputs)
    e = flt.trace(kernel(points, *inputs), fun, num_probes=40, num_steps=60, method=method, seed=1)
    found = e.gradient(*inputs)
    total = gradients(e.value, inputs)
    for one, whole, true in zip(found, total, exact, strict=True):
        assert abs(one.value - whole) <= 1e-9 * abs(whole) + 1e-12
        assert abs(one.value - true) <= 5 * one.std_error + 1e-8 * abs(true)


def test_what_is_known_exactly_needs_no_probes(points):
    small = kernel(points, *hyperparameters())[:8, :8].detach().requires_grad_()
    e = flt.logdet(small, num_probes=3, num_steps=8, seed=0)
    [g] = e.gradient(small)
    assert g.std_error.abs().max() == 0.0
    torch.testing.assert_close(g.value, torch.linalg.inv(small.detach()))
    torch.testing.assert_close(torch.autograd.grad(e.value, small)[0], g.value)


def test_steps_that_choose_themselves_and_accuracies(points):
    inputs = hyperparameters()
    exact = gradients(torch.logdet(kernel(points, *inputs)), inputs)
    for options in ({"num_probes": 30}, {"rtol": 1e-2}, {"num_probes": 30, "bounds": (0.05, None)}):
        e = flt.logdet(kernel(points, *inputs), seed=0, **options)
        assert e.info["method"] != "exact" or "rtol" in options
        for one, true in zip(e.gradient(*inputs), exact, strict=True):
            assert abs(one.value - true) <= 6 * one.std_error + 1e-6 * abs(true)


@pytest.mark.parametrize("fun", ["log", "inv"])
def test_preconditioned_sums(points, fun):
    inputs = hyperparameters()
    exact = gradients(dense_function(kernel(points, *inputs), fun).trace(), inputs)
    e = flt.trace(kernel(points, *inputs), fun, preconditioner=30, diagonal=0.05, num_probes=20, num_steps=30, seed=0)
    assert e.info["method"] == "preconditioned"
    found = e.gradient(*inputs)
    for one, true in zip(found, exact, strict=True):
        assert abs(one.value - true) <= 5 * one.std_error + 1e-8 * abs(true)
    total = gradients(e.value, inputs)
    assert (torch.stack([one.value for one in found]) - total).abs().max() < 1e-9 * total.abs().max()


def test_the_inverse_has_the_derivative_of_its_estimate(points):
    K = kernel(points, *hyperparameters()).detach().requires_grad_()
    small = K[:12, :12].detach().clone().requires_grad_()

    def f(A):
        return flt.trace(0.5 * (A + A.T), "inv", num_probes=3, num_steps=12, method="hutchinson", seed=0).value

    assert torch.autograd.gradcheck(f, (small,))


@pytest.mark.parametrize("fun", ["log", "exp", "sqrt", torch.log1p], ids=named)
def test_gradcheck(points, fun):
    small = kernel(points, *hyperparameters())[:10, :10].detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda A: flt.trace(0.5 * (A + A.T), fun).value, (small,))


def test_a_hessian_in_a_closure():
    """A callable that takes gradients itself, of parameters that are not its own."""
    torch.manual_seed(0)
    X = torch.randn(40, 5, dtype=torch.float64)
    w = torch.randn(5, dtype=torch.float64, requires_grad=True)

    def hessian_times(v):
        loss = torch.nn.functional.softplus(X @ w).sum() + 0.1 * (w @ w)
        (g,) = torch.autograd.grad(loss, w, create_graph=True)
        return torch.autograd.grad(g, w, v, create_graph=True)[0]

    H = torch.func.hessian(lambda w: torch.nn.functional.softplus(X @ w).sum() + 0.1 * (w @ w))
    wanted = torch.autograd.grad(torch.logdet(H(w)), w)[0]
    found = torch.autograd.grad(flt.logdet(hessian_times, 5).value, w)[0]
    torch.testing.assert_close(found, wanted)


def test_two_sums_of_one_matrix_share_its_graph(points):
    inputs = hyperparameters()
    K = kernel(points, *inputs)
    (flt.logdet(lambda v: K @ v, N).value + flt.trace(K, "inv").value + (K**2).sum()).backward()
    K2 = kernel(points, *(x.detach().requires_grad_() for x in inputs))
    assert all(x.grad is not None and torch.isfinite(x.grad) for x in inputs)
    again = hyperparameters()
    K2 = kernel(points, *again)
    (torch.logdet(K2) + torch.linalg.inv(K2).trace() + (K2**2).sum()).backward()
    for a, b in zip(inputs, again, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_float32_vectors_of_a_callable(points):
    K = kernel(points, *hyperparameters()).detach().float().requires_grad_()
    e = flt.logdet(lambda v: K @ v, N, like=torch.empty(0), num_probes=5, num_steps=30, seed=0)
    assert e.value.dtype == torch.float64
    (g,) = torch.autograd.grad(e.value, K)
    assert g.dtype == torch.float32
    assert torch.isfinite(g).all()


def test_sparse_gradients_have_the_pattern(points):
    A = torch.diag(torch.linspace(1, 2, N, dtype=torch.float64))
    A[0, 1] = A[1, 0] = 0.5
    wanted = torch.linalg.inv(A)
    for layout in (torch.sparse_coo, torch.sparse_csr):
        S = (A.to_sparse() if layout == torch.sparse_coo else A.to_sparse_csr()).requires_grad_()
        e = flt.logdet(S, num_probes=60, num_steps=20, seed=0, method="hutchinson")
        (g,) = torch.autograd.grad(e.value, S)
        assert g.layout == layout
        g = g.to_dense()
        assert g[A == 0].abs().max() == 0
        assert (g - wanted)[A != 0].abs().max() < 0.5


def test_no_gradient_is_asked_for(points):
    K = kernel(points, *hyperparameters()).detach()
    e = flt.logdet(K, num_probes=5, num_steps=20, seed=0)
    assert not e.value.requires_grad
    assert float(e) == float(fl.logdet(K, num_probes=5, num_steps=20, seed=0))
    with torch.no_grad():
        assert not flt.logdet(K.requires_grad_(), num_probes=5, num_steps=20, seed=0).value.requires_grad
    with pytest.raises(ValueError, match="does not depend"):
        e.gradient(K)


def test_the_same_seed_gives_the_same_bits(points):
    inputs = hyperparameters()
    a, b = (flt.logdet(kernel(points, *inputs), num_probes=4, num_steps=20, seed=7) for _ in range(2))
    assert float(a) == float(b)
    assert torch.equal(gradients(a.value, inputs), gradients(b.value, inputs))


def test_nothing_is_kept_of_the_graph(points):
    """A callable's graph is freed after every product."""
    inputs = hyperparameters()
    alive = []

    def product(v):
        y = kernel(points, *inputs) @ v
        alive.append(y)
        return y

    e = flt.logdet(product, N, num_probes=3, num_steps=10, seed=0)
    before = len(alive)
    e.value.backward()
    assert len(alive) - before == 3  # one product a probe


def test_errors(points):
    K = kernel(points, *hyperparameters())
    with pytest.raises(TypeError, match="complex"):
        flt.logdet(K.to(torch.complex128))
    with pytest.raises(TypeError, match="derivative of fun"):
        flt.trace(K, np.log)
    with pytest.raises(TypeError, match="takes a tensor"):
        flt.logdet(3.0)
    with pytest.raises(TypeError, match="must return a tensor"):
        flt.logdet(lambda v: v.numpy(), N)
    with pytest.raises(ValueError, match="dim is missing"):
        flt.logdet(lambda v: v)
    with pytest.raises(ValueError, match="group"):
        flt.logdet(K, group=object())
    scale = torch.tensor(2.0, requires_grad=True)
    with pytest.raises(ValueError, match="fun depends on tensors"):
        flt.trace(K, lambda x: torch.exp(scale * x))
    with pytest.raises(ValueError, match="positive definite"):
        flt.logdet(K - 2 * torch.eye(N, dtype=torch.float64))
    B = K.detach().requires_grad_() * 1.0
    e = flt.logdet(B, num_probes=3, num_steps=20, seed=0)
    B.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        e.value.backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match=r"fastlanczos\.torch\.logdet"):
            fl.logdet(K)


@pytest.mark.parametrize("fun", ["log", "inv", "exp", "sqrt", ("power", 3), torch.log1p, None], ids=named)
@pytest.mark.parametrize("form", ["matrix", "closure"])
def test_second_derivatives(points, fun, form):
    inputs = hyperparameters()

    def curvature(value):
        first = torch.autograd.grad(value, inputs, create_graph=True)
        weighted = sum(c * g for c, g in zip((1.0, 2.0, -0.5), first, strict=True))
        return torch.stack(torch.autograd.grad(weighted, inputs, allow_unused=True, materialize_grads=True))

    exact = curvature(dense_function(kernel(points, *inputs), fun).trace())
    A, dim = (kernel(points, *inputs), None) if form == "matrix" else ((lambda v: kernel(points, *inputs) @ v), N)
    found = curvature(flt.trace(A, fun, dim, method="exact").value)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-6)
    if form == "closure":
        return
    some = torch.stack(
        [
            curvature(flt.trace(kernel(points, *inputs), fun, num_probes=10, num_steps=40, seed=s).value)
            for s in range(12)
        ]
    )
    assert ((some.mean(0) - exact).abs() <= 5 * some.std(0) / 12**0.5 + 1e-6 * exact.abs() + 1e-9).all()


def test_what_has_no_second_derivative_says_so(points):
    inputs = hyperparameters()
    e = flt.logdet(kernel(points, *inputs), preconditioner=20, diagonal=0.05, seed=0)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(e.value, inputs[:1], create_graph=True)
    for value in (
        flt.funm_multiply(kernel(points, *inputs), "exp", torch.ones(N, dtype=torch.float64)).sum(),
        flt.eigsh(kernel(points, *inputs), 2)[0].sum(),
        flt.svds(kernel(points, *inputs), 2)[1].sum(),
        flt.diagonal(kernel(points, *inputs), "inv").value.sum(),
    ):
        (g,) = torch.autograd.grad(value, inputs[:1], create_graph=True)
        with pytest.raises(NotImplementedError, match="first derivatives only"):
            g.backward()


def test_repr(points):
    K = kernel(points, *hyperparameters())
    assert repr(flt.logdet(K, num_probes=5, num_steps=20, seed=0)).endswith("(95%), with a gradient")
