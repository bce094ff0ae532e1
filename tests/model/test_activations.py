"""fastlanczos/model/activations.py: activations that transformers writes out are one operation, the same one."""

import math

import pytest

torch = pytest.importorskip("torch")

import fastlanczos.torch as flt  # noqa: E402

nn, F = torch.nn, torch.nn.functional


class NewGELUActivation(nn.Module):
    def forward(self, x):
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def network(activation):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), activation, nn.Linear(6, 6), activation, nn.Linear(6, 3)).double()


def kept_bytes(model, data):
    H = flt.HessianOperator(model, F.cross_entropy, data)
    H @ torch.ones(H.shape[0])
    return H.schedule.graph_bytes


def test_products_are_the_same_and_graphs_smaller(monkeypatch):
    data = [(torch.randn(64, 4, dtype=torch.float64), torch.arange(64) % 3)]
    model = network(NewGELUActivation())
    v = torch.randn(model[0].weight.numel() + 6 + 42 + 21, dtype=torch.float64)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(model(data[0][0]), data[0][1]), parameters, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in gradients])
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(flat @ v, parameters)])
    written_out = kept_bytes(model, data)
    monkeypatch.setattr(NewGELUActivation, "__module__", "transformers.activations")
    H = flt.HessianOperator(model, F.cross_entropy, data)
    torch.testing.assert_close(H @ v, expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(
        H @ torch.stack([v, -v], 1), torch.stack([expected, -expected], 1), rtol=1e-12, atol=1e-13
    )
    assert kept_bytes(model, data) < 0.7 * written_out
    assert not torch.nn.modules.module._global_forward_hooks


def loss_of(name):
    """The model's own loss, without the float32 that language models' goes through."""

    def following(output, labels):
        return F.cross_entropy(output.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    return (lambda output, labels: output.loss) if name == "BERT" else following


def reference(model, batch, loss_fn, v):
    """H v by autograd alone."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    parameters = list(model.parameters())
    with sdpa_kernel(SDPBackend.MATH):
        gradients = torch.autograd.grad(loss_fn(model(**batch), batch["labels"]), parameters, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in gradients])
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(flat @ v, parameters)])


def huggingface(name):
    """A small model of a Hugging Face family, from a config."""
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
    words = torch.randint(50, (2, 9))
    batch = {"input_ids": words, "attention_mask": (torch.arange(9) < torch.tensor([[9], [6]])).long()}
    if name == "BERT":
        config = transformers.BertConfig(vocab_size=50, max_position_embeddings=16, **small)
        return transformers.BertForSequenceClassification(config), {**batch, "labels": torch.tensor([0, 1])}
    if name == "GPT-2":
        config = transformers.GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=4, use_cache=False)
        return transformers.GPT2LMHeadModel(config), {**batch, "labels": words}
    config = transformers.LlamaConfig(vocab_size=50, num_key_value_heads=2, use_cache=False, **small)
    return transformers.LlamaForCausalLM(config), {**batch, "labels": words}


@pytest.mark.parametrize("name", ["BERT", "GPT-2", "Llama"])
def test_families_of_hugging_face_have_plain_torch_s_products(name):
    torch.manual_seed(0)
    model, batch = huggingface(name)
    model = model.double().eval()
    H = flt.HessianOperator(model, loss_of(name), [batch])
    v = torch.randn(H.shape[0], dtype=torch.float64)
    expected = reference(model, batch, loss_of(name), v)
    assert float((H @ v - expected).norm()) <= 1e-12 * float(expected.norm())
