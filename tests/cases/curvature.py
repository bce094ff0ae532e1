"""Networks, losses and data of every kind, and their dense curvature from autograd by an independent way."""

import torch
from cases.networks import Tied, batches, convolutional, images, mlp, seeded
from torch.nn.attention import SDPBackend, sdpa_kernel

nn, F = torch.nn, torch.nn.functional


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.lstm(x.view(len(x), 3, 2))[0][:, -1])


class Transformer(nn.Module):
    """Embedding and output tied; logits (samples, classes, positions) as cross_entropy wants them."""

    def __init__(self, tokens=5, width=4):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.layer = nn.TransformerEncoderLayer(width, 2, 6, dropout=0.0, batch_first=True)
        self.out = nn.Linear(width, tokens, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, x):
        return self.out(self.layer(self.embedding(x))).transpose(1, 2)


class WithOwnLoss(nn.Module):
    """As Hugging Face's models: keyword arguments in, an object with loss and logits out."""

    class Output:
        def __init__(self, loss, logits):
            self.loss, self.logits = loss, logits

    def __init__(self):
        super().__init__()
        self.network = Transformer()

    def forward(self, input_ids, attention_mask=None, labels=None):
        logits = self.network(input_ids).transpose(1, 2)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        return self.Output(loss, logits)


def tokens(sizes=(3, 3, 2), length=4, ignored=False):
    g = torch.Generator().manual_seed(2)
    data = []
    for size in sizes:
        x, y = (torch.randint(5, (size, length), generator=g) for _ in range(2))
        if ignored:
            y = torch.where(torch.rand(size, length, generator=g) < 0.4, -100, y)
        data.append((x, y))
    return data


def labelled(sizes=(3, 3, 2)):
    return [{"input_ids": x, "labels": y} for x, y in tokens(sizes, ignored=True)]


CLASS_WEIGHTS = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)


def regression():
    g = torch.Generator().manual_seed(3)
    return [(x, torch.randn(len(x), 3, generator=g, dtype=torch.float64)) for x, _ in batches()]


def double(make, **mode):
    return lambda: seeded(make).double()


# name: (model, loss of all samples, loss given to the operator or the same, data, options)
CASES = {
    "MLP, ragged last batch": (mlp, F.cross_entropy, batches, {}),
    "MLP, module loss": (mlp, nn.CrossEntropyLoss(), batches, {}),
    "MLP, weighted": (mlp, nn.CrossEntropyLoss(weight=CLASS_WEIGHTS), batches, {}),
    "MLP, weighted inside a function": (mlp, lambda z, y: F.cross_entropy(z, y, CLASS_WEIGHTS), batches, {}),
    "MLP, a class ignored": (mlp, lambda z, y: F.cross_entropy(z, y, ignore_index=1), batches, {}),
    "MLP, label smoothing": (mlp, nn.CrossEntropyLoss(label_smoothing=0.1), batches, {}),
    "MLP, negative log likelihood": (mlp, lambda z, y: F.nll_loss(F.log_softmax(z, 1), y, CLASS_WEIGHTS), batches, {}),
    "MLP, regression": (mlp, F.mse_loss, regression, {}),
    "MLP, regression by a formula": (mlp, lambda z, y: ((z - y) ** 4).mean(), regression, {}),
    "recurrent": (double(Recurrent), F.cross_entropy, batches, {}),
    "transformer with tied embeddings": (double(Transformer), F.cross_entropy, tokens, {}),
    "transformer, tokens ignored": (double(Transformer), F.cross_entropy, lambda: tokens(ignored=True), {}),
    "tied": (
        double(Tied),
        F.cross_entropy,
        lambda: [(torch.arange(5), torch.arange(5).flip(0)), (torch.tensor([5, 6]), torch.tensor([1, 1]))],
        {},
    ),
    "batch norm as the model's mode": (convolutional, F.cross_entropy, images, {}),
    "batch norm by the batch": (lambda: convolutional().eval(), F.cross_entropy, images, {"batch_statistics": "batch"}),
    "batch norm by running statistics": (convolutional, F.cross_entropy, images, {"batch_statistics": "running"}),
    "batch norm by the population": (convolutional, F.cross_entropy, images, {"batch_statistics": "population"}),
}


def prepared(model, data, options):
    """The model set so that its plain forward pass normalizes as `batch_statistics` says."""
    kind = options.get("batch_statistics")
    if kind == "batch":
        return model.train()
    if kind == "running":
        return model.eval()
    if kind == "population":
        # A single batch norm, after the first convolution: what it sees does not depend on statistics.
        seen = model[0](torch.cat([x for x, _ in data])).detach()
        model[1].running_mean.copy_(seen.mean((0, 2, 3)))
        model[1].running_var.copy_(seen.var((0, 2, 3), correction=0))
        return model.eval()
    return model


def flat_function(model):
    """(theta, f) with f(theta, x) the model's output at parameters theta, in the model's order."""
    params = {name: p.detach() for name, p in model.named_parameters()}
    theta = torch.cat([p.flatten() for p in params.values()])

    def f(theta, *args, **kwargs):
        parts = theta.split([p.numel() for p in params.values()])
        values = {name: t.view(p.shape) for (name, p), t in zip(params.items(), parts, strict=True)}
        buffers = {name: b.clone() for name, b in model.named_buffers()}
        with sdpa_kernel(SDPBackend.MATH):
            return torch.func.functional_call(model, {**values, **buffers}, args, kwargs)

    return theta, f


def whole_loss(model, loss_fn, data):
    """(theta, loss, outputs): the loss of all samples in one call of loss_fn, the batches' outputs put together."""
    theta, f = flat_function(model)
    y = torch.cat([y for _, y in data])

    def outputs(theta):
        return torch.cat([f(theta, x) for x, _ in data])

    return theta, lambda theta: loss_fn(outputs(theta), y), outputs, y


def dense_hessian_of_all(model, loss_fn, data):
    theta, loss, *_ = whole_loss(model, loss_fn, data)
    return torch.autograd.functional.hessian(loss, theta)


def dense_ggn(model, loss_fn, data):
    theta, _, outputs, y = whole_loss(model, loss_fn, data)
    J = torch.autograd.functional.jacobian(outputs, theta).flatten(0, -2)
    z = outputs(theta).detach()
    B = torch.autograd.functional.hessian(lambda z: loss_fn(z, y), z).reshape(z.numel(), z.numel())
    return J.T @ B @ J


def dense_gradient(model, loss_fn, data):
    theta, loss, *_ = whole_loss(model, loss_fn, data)
    return torch.autograd.functional.jacobian(loss, theta)
