"""Dropout without a seed."""

import pytest

torch = pytest.importorskip("torch")

from fastlanczos.curvature.dropout import refuse_dropout  # noqa: E402


def test_masks_are_refused_by_name_where_they_are_drawn():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.1), torch.nn.Dropout(0.0))
    with pytest.raises(ValueError, match=r"dropout is on \(1\).*model.eval"):
        refuse_dropout(model)
    refuse_dropout(model.eval())
    with pytest.raises(ValueError, match="dropout is on"):
        refuse_dropout(torch.nn.GRU(2, 2, num_layers=2, dropout=0.5))
