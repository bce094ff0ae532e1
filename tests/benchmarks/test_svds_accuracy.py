"""benchmarks/svds_accuracy.py: its claim, in its small form."""

import json

from cases.programs import run


def test_nothing_is_missed(tmp_path):
    run("benchmarks/svds_accuracy.py", "--quick", "--output", tmp_path)
    rows = {row["solver"]: row for row in json.loads((tmp_path / "svds_accuracy.json").read_text())["rows"]}
    ours = rows["fastlanczos"]
    assert ours["problems"] == 48
    assert ours["failed"] == ours["missed"] == ours["wrong"] == 0
    assert ours["worst residual"] < 1e-13
    assert ours["worst orthogonality"] < 1e-12
    assert rows["scipy arpack"]["problems"] == 48
