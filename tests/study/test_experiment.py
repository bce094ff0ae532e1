"""An experiment of several runs: its files, and going on with it."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("plotly")

import torch

from fastlanczos.report.folder import read
from fastlanczos.study.claims import Claim
from fastlanczos.study.experiment import conduct, numbers_of
from fastlanczos.study.rounds import Limits
from fastlanczos.torch import HessianOperator, SpectrumTracker

CLAIM = Claim("larger", "question", "a is larger", "ours", "a minus b", (0.0, float("inf")), "number", ("a", "b"),
              lambda runs: runs["a"]["x"] - runs["b"]["x"])  # fmt: skip


def work(name, seed, folder):
    """Stand for a training: a record and a number."""
    model = torch.nn.Linear(3, 2)
    data = torch.randn(8, 3), torch.randint(2, (8,))
    H = HessianOperator(model, torch.nn.functional.cross_entropy, data)
    SpectrumTracker(H, None, folder, k=1, num_probes=1, num_steps=3).measure()
    return {
        "x": (10.0 if name == "a" else 0.0) + float(np.random.default_rng(seed).normal()),
        "drawn": float(torch.rand(1)),
    }


def conducted(place, most=4, **options):
    return conduct(place, ("a", "b"), work, [CLAIM], {"width": 3}, Limits(4, most), jobs=1, progress=False, **options)


def test_numbers_findings_figures_and_page_are_written(tmp_path):
    drawn = []
    (found,) = conducted(tmp_path, draw=lambda folder, numbers: drawn.append(numbers) or [])
    assert (found.verdict, found.seeds, found.values) == ("confirmed", [0, 1, 2, 3], [10.0] * 4)
    assert drawn == [numbers_of(tmp_path, ("a", "b"))]
    assert list(drawn[0]) == [0, 1, 2, 3]
    assert drawn[0][0]["a"]["drawn"] != drawn[0][1]["a"]["drawn"]
    assert json.loads((tmp_path / "findings.json").read_text())["findings"][0]["verdict"] == "confirmed"
    contents = read(tmp_path)
    assert (len(contents.runs), len(contents.findings)) == (8, 1)
    assert [(run.name, run.label) for run in contents.runs[:2]] == [("a", "seed 0"), ("a", "seed 1")]
    assert "a is larger" in (tmp_path / "report.html").read_text()


def test_what_was_stopped_goes_on_and_ends_the_same(tmp_path):
    conducted(tmp_path)
    before = numbers_of(tmp_path, ("a", "b"))
    (tmp_path / "runs" / "b" / "seed-2" / "numbers.json").unlink()
    conducted(tmp_path)
    assert numbers_of(tmp_path, ("a", "b")) == before
    with pytest.raises(ValueError, match=r"holds another study .*max_seeds was 4 and is 5"):
        conducted(tmp_path, most=5)
