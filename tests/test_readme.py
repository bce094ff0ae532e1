"""README.md: every block of code runs, and prints what the block below it says."""

import contextlib
import doctest
import io
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```(?:\n```text\n(.*?)```)?", README, re.DOTALL)


def test_code_prints_what_the_readme_says():
    assert len(BLOCKS) >= 4
    names = {}
    for code, expected in BLOCKS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), names)
        same = doctest.OutputChecker().check_output(expected, printed.getvalue(), doctest.ELLIPSIS)
        assert same, f"{code}\nprinted\n{printed.getvalue()}\nand not\n{expected}"


def test_the_readme_names_both_commands():
    assert "make demo" in README
    assert "make test" in README
