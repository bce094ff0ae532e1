"""Text that is on every machine: the sources of Python's standard library, with their documentation strings."""

from __future__ import annotations

import platform
import sysconfig
from pathlib import Path

import torch

__all__ = ["CHARACTERS", "library_text", "sequences"]

CHARACTERS = "\n" + "".join(chr(i) for i in range(32, 127))
_PLACE = {c: i for i, c in enumerate(CHARACTERS)}


def library_text(characters: int = 2_000_000) -> tuple[str, torch.Tensor]:
    """Return (what it is, the places of its characters in `CHARACTERS`).

    The modules at the top of the standard library, in alphabetical order; characters beyond ASCII are left out. The
    text depends on Python's version, which is part of what it is called.
    """
    found: list[int] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        found += [_PLACE[c] for c in path.read_text(encoding="utf-8", errors="ignore") if c in _PLACE]
        if len(found) >= characters:
            break
    text = torch.tensor(found[:characters], dtype=torch.int64)
    return f"{len(text):,} characters of the standard library of Python {platform.python_version()}", text


def sequences(
    text: torch.Tensor, length: int, count: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `count` random pieces of text, (count, length), and the same one character further on."""
    first = torch.randint(len(text) - length - 1, (count, 1), generator=generator)
    places = first + torch.arange(length)
    return text[places], text[places + 1]
