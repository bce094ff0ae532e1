"""Networks of ten million parameters and more, with random weights and synthetic data: (model, batches) each.

Every model takes a batch's entries as keyword arguments and returns a mapping with its loss and logits.
"""

import itertools

import torch
from hessian import ResidualBlock
from torch import nn

F = nn.functional


def bert(quick, length=32):
    """MiniLM's shape: 22.7 million parameters, 6 layers, 384 wide; eight sentences."""
    from transformers import BertConfig, BertForSequenceClassification

    size = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    if quick:
        size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    model = BertForSequenceClassification(BertConfig(vocab_size=1000 if quick else 30522, **size)).eval()
    words = torch.randint(model.config.vocab_size, (8, length))
    seen = torch.arange(length) < torch.linspace(length / 2, length, 8)[:, None]
    return model, [{"input_ids": words, "attention_mask": seen.long(), "labels": torch.arange(8) % 2}]


def gpt2(quick, length=256):
    """12 layers at width 256, vocabulary 50,257: 22.6 million parameters; a sequence."""
    from transformers import GPT2Config, GPT2LMHeadModel

    size = {"n_layer": 2, "n_embd": 32, "n_head": 4} if quick else {"n_layer": 12, "n_embd": 256, "n_head": 4}
    vocabulary = 1000 if quick else 50257
    model = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_positions=1024, use_cache=False, **size)).eval()
    words = torch.randint(vocabulary, (1, length))
    return model, [{"input_ids": words, "labels": words}]


class ResNet18(nn.Module):
    """For 32 x 32 images: 11.2 million parameters at width 64, with its loss."""

    def __init__(self, width):
        super().__init__()
        widths = [width, width, width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width, 8 * width]
        blocks = [ResidualBlock(a, b, 1 + (a != b)) for a, b in itertools.pairwise(widths)]
        first = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        last = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, 10)]
        self.layers = nn.Sequential(*first, *blocks, *last)

    def forward(self, images, labels):
        logits = self.layers(images)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def resnet18(quick, length=32, samples=16):
    """11.2 million parameters; images of length x length."""
    images = torch.randn(8 if quick else samples, 3, length, length)
    return ResNet18(8 if quick else 64).eval(), [{"images": images, "labels": torch.arange(len(images)) % 10}]


class _Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.together, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def forward(self, x):
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.together(self.norms[0](x)).chunk(3, -1)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


class LanguageModel(nn.Module):
    """GPT-2's architecture, which needs no package: 124 million parameters at its smallest published size."""

    def __init__(self, layers=12, width=768, heads=12, vocabulary=50257, length=1024):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.layers = nn.Sequential(*(_Layer(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        for table in (self.tokens, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, input_ids, labels):
        x = self.tokens(input_ids) + self.places(torch.arange(input_ids.shape[1], device=input_ids.device))
        logits = F.linear(self.norm(self.layers(x)), self.tokens.weight)
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return {"loss": loss, "logits": logits}


def language_model(quick, length=256, samples=4):
    """124 million parameters; sequences of `length` tokens."""
    size = {"layers": 2, "width": 32, "heads": 4, "vocabulary": 1000} if quick else {}
    model = LanguageModel(**size)
    words = torch.randint(1000 if quick else 50257, (2 if quick else samples, 32 if quick else length))
    return model, [{"input_ids": words, "labels": words}]
