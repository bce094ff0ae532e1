"""Text of the standard library."""

import platform

import pytest

pytest.importorskip("torch")

import torch

from fastlanczos.study.text import CHARACTERS, library_text, sequences


def test_the_text_is_python_and_says_what_it_is():
    name, text = library_text(5000)
    assert name == f"5,000 characters of the standard library of Python {platform.python_version()}"
    assert (len(text), text.dtype) == (5000, torch.int64)
    written = "".join(CHARACTERS[i] for i in text)
    assert "import" in written
    assert torch.equal(text, library_text(9000)[1][:5000])


def test_what_is_to_be_predicted_is_one_character_further_on():
    text = library_text(3000)[1]
    x, y = sequences(text, 20, 7, torch.Generator().manual_seed(0))
    assert x.shape == y.shape == (7, 20)
    assert torch.equal(x[:, 1:], y[:, :-1])
    again, _ = sequences(text, 20, 7, torch.Generator().manual_seed(0))
    assert torch.equal(x, again)
