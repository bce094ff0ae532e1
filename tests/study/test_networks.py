"""fastlanczos/study/networks.py."""

import pytest

torch = pytest.importorskip("torch")

from fastlanczos.study.networks import ImageNetwork  # noqa: E402


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_logits_come_out_and_only_what_is_asked_for_differs(batch_norm, residual):
    model = ImageNetwork(3, 7, batch_norm=batch_norm, residual=residual, width=4, blocks=(1, 1))
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules()) is batch_norm
    block = model.first[0]
    with torch.no_grad():
        for p in block.parameters():
            p.zero_()
    x = torch.rand(2, 4, 5, 5)
    assert torch.equal(block(x), x if residual else torch.zeros_like(x))
