"""benchmarks/paper_validation.py: its claim, in its small form."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import paper_validation


def test_the_papers_validation_holds(tmp_path, capsys):
    paper_validation.main(["--quick", "--output", str(tmp_path)])
    record = json.loads((tmp_path / "paper_validation.json").read_text())["64-20-10"]
    assert record["top_error"] < 1e-12
    assert record["bottom_error"] < 1e-12
    assert "64-20-10 from other seeds" in capsys.readouterr().out
