"""What the products of a callable depend on."""

import torch

from fastlanczos.gradients.dependence import dependence


def same(found, wanted):
    return {id(x) for x in found} == {id(x) for x in wanted}


def test_leaves_and_what_was_computed_from_them():
    theta = torch.tensor(2.0, requires_grad=True)
    other = torch.tensor(3.0, requires_grad=True)
    K = theta * torch.eye(3)
    v = torch.ones(3)
    assert same(dependence(lambda v: K @ v, v), [K])
    assert same(dependence(lambda v: (theta * torch.eye(3)) @ v + other * v, v), [theta, other])
    assert same(dependence(lambda v: K @ v + theta * v, v), [K, theta])
    assert dependence(lambda v: 2 * v, v) == []
    assert dependence(lambda v: K.detach() @ v, v) == []


def test_what_has_no_effect_is_left_out():
    theta = torch.ones(3, requires_grad=True)

    def product(v):
        (theta * 2).sum()
        return v * 1.0

    assert dependence(product, torch.ones(3)) == []


def test_modules_views_and_unpacked_tensors():
    layer = torch.nn.Linear(3, 3)
    v = torch.ones(3)
    assert same(dependence(layer, v), [layer.weight, layer.bias])
    pair = torch.randn(2, 3, 3, requires_grad=True) * 1.0
    first, second = pair.unbind(0)
    assert same(dependence(lambda v: first.T @ (second @ v), v), [first, second])
    assert same(dependence(lambda v: first @ v, v), [first])


def test_custom_functions_are_seen_by_their_leaves():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, A, v):
            ctx.save_for_backward(A, v)
            return 2 * (A @ v)

        @staticmethod
        def backward(ctx, g):
            A, v = ctx.saved_tensors
            return 2 * torch.outer(g, v), 2 * (A.T @ g)

    leaf = torch.randn(3, 3, requires_grad=True)
    assert same(dependence(lambda v: Double.apply(leaf, v), torch.ones(3)), [leaf])
    inner = leaf * 1.0
    assert same(dependence(lambda v: Double.apply(inner, v), torch.ones(3)), [inner])


def test_gradients_inside():
    theta = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)

    def product(v):
        (g,) = torch.autograd.grad((theta**3).sum(), theta, create_graph=True)
        return torch.autograd.grad(g, theta, v, create_graph=True)[0]

    assert same(dependence(product, torch.ones(3)), [theta])


def test_functional_transforms():
    theta = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)

    def product(v):
        return torch.func.jvp(torch.func.grad(lambda t: (t**3).sum()), (theta,), (v,))[1]

    assert same(dependence(product, torch.ones(3)), [theta])
