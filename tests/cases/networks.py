"""Small networks and batches, and their Hessians by an independent way."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

nn = torch.nn


def seeded(make):
    torch.manual_seed(0)
    return make()


def mlp(dtype=torch.float64):
    return seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))).to(dtype)


def convolutional():
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)
        )
    ).double()


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, tokens):
        return self.out(torch.tanh(self.embedding(tokens)))


def batches(sizes=(7, 7, 3), dtype=torch.float64):
    g = torch.Generator().manual_seed(1)
    return [(torch.randn(b, 6, generator=g, dtype=dtype), torch.randint(3, (b,), generator=g)) for b in sizes]


def images(sizes=(6, 4)):
    g = torch.Generator().manual_seed(1)
    return [
        (torch.randn(b, 1, 6, 6, generator=g, dtype=torch.float64), torch.randint(3, (b,), generator=g)) for b in sizes
    ]


def dense_hessian(model, loss_fn, data, names=None):
    """d^2 of the mean over samples, from torch.func.hessian on each batch: an independent way."""
    params = {k: p.detach() for k, p in model.named_parameters() if names is None or k in names}
    others = {k: b.clone() for k, b in model.named_buffers()}
    sizes = [p.numel() for p in params.values()]
    flat = torch.cat([p.flatten() for p in params.values()])

    def loss(theta, x, y):
        parts = {k: t.view(p.shape) for (k, p), t in zip(params.items(), theta.split(sizes), strict=True)}
        buffers = {k: b.clone() for k, b in others.items()}
        return loss_fn(torch.func.functional_call(model, {**parts, **buffers}, (x,)), y)

    total = sum(len(y) for _, y in data)
    with torch.random.fork_rng(), sdpa_kernel(SDPBackend.MATH):
        parts = [torch.autograd.functional.hessian(lambda t, x=x, y=y: loss(t, x, y), flat) * len(y) for x, y in data]
    return sum(parts) / total


class Cube(torch.autograd.Function):
    """x^3, whose backward torch does not differentiate."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 3 * ctx.saved_tensors[0] ** 2 * grad
