"""Closed forms against what autograd derives by itself: values, gradients, and products with second derivatives."""

import torch

from fastlanczos.closed_forms.vectors import Vectors


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def products(f, inputs, vectors, several):
    """The gradient of sum(f(inputs)^3) and its Hessian times each of the vectors, through the gradient's graph."""
    inputs = [t.clone().requires_grad_() for t in inputs]
    gradients = torch.autograd.grad((f(*inputs) ** 3).sum(), inputs, create_graph=True)

    def product(*v):
        given = torch.autograd.grad(gradients, inputs, v, retain_graph=True)
        return tuple(g.to_dense() if g.is_sparse else g for g in given)

    if several:
        return gradients, torch.vmap(product)(*vectors)
    return gradients, [torch.stack(p) for p in zip(*(product(*v) for v in zip(*vectors, strict=True)), strict=True)]


def check(make, reference, inputs, several, which=None):
    """Compare `make(vectors)` with `reference`, both differentiated in the `inputs` at the places `which`."""
    vectors = Vectors()
    vectors.several = several
    closed = make(vectors)
    which = range(len(inputs)) if which is None else which

    def partly(f):
        chosen = list(which)
        return lambda *some: f(*[some[chosen.index(i)] if i in chosen else t for i, t in enumerate(inputs)])

    chosen = [inputs[i] for i in which]
    assert torch.allclose(closed(*inputs), reference(*inputs), rtol=1e-13, atol=1e-13)
    probes = [randn(4, *t.shape, seed=7) for t in chosen]
    for ours, theirs in zip(
        products(partly(closed), chosen, probes, several),
        products(partly(reference), chosen, probes, False),
        strict=True,
    ):
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape
            assert torch.abs(a - b).max() <= 1e-12 * torch.abs(b).max()
