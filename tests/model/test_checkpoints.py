"""Activation checkpointing, autocast and sparse gradients inside a model: products are those of plain torch."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import fastlanczos.torch as flt

nn, F = torch.nn, torch.nn.functional


class Blocks(nn.Module):
    """Two blocks with everything that has a closed form, checkpointed as asked for."""

    def __init__(self, how, inputs=5):
        super().__init__()
        self.how = how
        self.first = nn.Linear(inputs, 8)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 8), nn.GELU()) for _ in range(2)
        )
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x) if self.how is None else checkpoint(block, x, use_reentrant=self.how)
        return self.last(x)


def plain(model, x, y, v):
    """H v by autograd alone."""
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(model(x), y), parameters, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in gradients])
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(flat @ v, parameters)])


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 5, generator=generator, dtype=torch.float64), torch.arange(40) % 3


@pytest.mark.parametrize("training", [True, False])
def test_checkpointed_blocks_give_plain_torch_s_products(data, training):
    torch.manual_seed(0)
    model = Blocks(False).double().train(training)
    without = Blocks(None).double().train(training)
    without.load_state_dict(model.state_dict())
    H = flt.HessianOperator(model, F.cross_entropy, [data])
    v = torch.randn(H.shape[0], dtype=torch.float64)
    expected = plain(without, *data, v)
    torch.testing.assert_close(H @ v, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(H @ v, expected, rtol=1e-10, atol=1e-12)
    block = torch.stack([v, 2 * v], dim=1)
    torch.testing.assert_close(H @ block, torch.stack([expected, 2 * expected], dim=1), rtol=1e-10, atol=1e-12)
    G, without_it = (flt.GGNOperator(m, F.cross_entropy, [data]) for m in (model, without))
    torch.testing.assert_close(G @ v, without_it @ v, rtol=1e-10, atol=1e-12)


def test_torch_s_checkpoints_are_left_as_they_were(data):
    before = torch.utils.checkpoint.CheckpointFunction, torch.utils.checkpoint._checkpoint_without_reentrant_generator
    model = Blocks(True).double()
    with pytest.raises(ValueError, match="use_reentrant=True, which torch does not differentiate twice"):
        flt.HessianOperator(model, F.cross_entropy, [data]).gradient()
    after = torch.utils.checkpoint.CheckpointFunction, torch.utils.checkpoint._checkpoint_without_reentrant_generator
    assert before == after


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_inside_the_model_gives_plain_torch_s_products(dtype):
    torch.manual_seed(0)

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3))

        def forward(self, x):
            with torch.autocast("cpu", dtype=dtype):
                return self.inner(x)

    model = Mixed()
    x, y = torch.randn(40, 5), torch.arange(40) % 3
    H = flt.HessianOperator(model, F.cross_entropy, [(x, y)])
    v = torch.randn(H.shape[0])
    expected = plain(model, x, y, v)
    # The sum of the losses is rounded otherwise than their mean.
    assert float((H @ v - expected).norm()) < torch.finfo(dtype).eps * float(expected.norm())


def test_an_embedding_with_sparse_gradients_gives_those_of_a_dense_one():
    torch.manual_seed(0)

    class Tokens(nn.Module):
        def __init__(self, sparse):
            super().__init__()
            self.table, self.last = nn.Embedding(30, 4, sparse=sparse), nn.Linear(4, 3)

        def forward(self, tokens):
            return self.last(torch.tanh(self.table(tokens).mean(1)))

    model, dense = Tokens(True).double(), Tokens(False).double()
    dense.load_state_dict(model.state_dict())
    tokens, y = torch.randint(0, 30, (20, 6)), torch.arange(20) % 3
    H = flt.HessianOperator(model, F.cross_entropy, [(tokens, y)])
    v = torch.randn(H.shape[0], dtype=torch.float64)
    torch.testing.assert_close(H @ v, plain(dense, tokens, y, v), rtol=1e-10, atol=1e-14)


def test_attention_inside_a_checkpoint(data):
    class Attending(nn.Module):
        def __init__(self, how):
            super().__init__()
            self.how, self.first, self.last = how, nn.Linear(1, 8), nn.Linear(8, 3)
            self.layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)

        def forward(self, x):
            x = self.first(x[..., None])  # each sample's numbers as a sequence
            x = self.layer(x) if self.how is None else checkpoint(self.layer, x, use_reentrant=self.how)
            return self.last(x.mean(1))

    torch.manual_seed(0)
    model, without = Attending(False).double(), Attending(None).double()
    without.load_state_dict(model.state_dict())
    v = torch.randn(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = plain(without, *data, v)
    for m in (model, without):
        torch.testing.assert_close(
            flt.HessianOperator(m, F.cross_entropy, [data]) @ v, expected, rtol=1e-10, atol=1e-12
        )
