"""The edge of stability in small."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("plotly")

from fastlanczos.study.edge import Edge, claims, edge, small, threshold

TINY = replace(small(), steps=60, every=6, samples=60, width=8, k=3)


def test_all_is_measured_and_judged(tmp_path):
    found = edge(tmp_path, sizes=TINY, jobs=1, progress=False)
    assert len(found) == 6
    assert all(np.isfinite(one.values[0]) for one in found)
    assert (tmp_path / "figures" / "edge.png").stat().st_size > 10_000
    assert (tmp_path / "report.html").exists()


def test_thresholds_are_those_of_the_quadratic():
    assert threshold(0.1, False) == 20
    assert threshold(1e-3, True) == pytest.approx(38_000)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_run_that_sharpens_and_hovers_is_seen_to(adaptive):
    s = Edge(descent=(0.1,), adam=(0.1,))
    edge_at = threshold(0.1, adaptive)
    sharp = np.concatenate([np.linspace(0.2, 1.0, 30), 1.0 + 0.05 * np.sin(np.arange(60))]) * edge_at
    run = {"threshold": edge_at, "sharpness": sharp.tolist(), "raw": sharp.tolist(), "loss": sharp.tolist(),
           "share": [0.2] * 30 + [0.9] * 60, "ratio": [4.0] * 90}  # fmt: skip
    runs = {name: run for name in s.names}
    by_key = {claim.key: claim.of(runs) for claim in claims(s)}
    assert by_key["sharpens"] == pytest.approx(np.log10(5), abs=0.02)
    assert by_key["hovers"] == pytest.approx(1.0, abs=0.02)
    assert by_key["edge-gradient"] == pytest.approx(0.7, abs=0.05)
    assert by_key["edge-batch-norm"] == 0.0
