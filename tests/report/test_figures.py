"""fastlanczos/report/figures.py: for tracked runs; a study's figures are tested with the study."""

import pytest

pytest.importorskip("matplotlib")
torch = pytest.importorskip("torch")

from cases.networks import batches, mlp  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402
from fastlanczos.report.figures import write_figures  # noqa: E402


def test_each_run_gets_a_picture(tmp_path):
    for name in ("one", "two"):
        H = flt.HessianOperator(mlp(), torch.nn.functional.cross_entropy, batches())
        tracker = flt.SpectrumTracker(H, 1, tmp_path / name, k=2, num_probes=1, num_steps=6)
        for _ in range(2):
            tracker.step()
    paths = write_figures(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == ["figures/one.png", "figures/two.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") and p.stat().st_size > 10_000 for p in paths)
    (elsewhere, _) = write_figures(tmp_path, tmp_path / "elsewhere")
    assert elsewhere.parent.name == "elsewhere"
