"""fastlanczos/tracking/tracker.py: training goes on undisturbed, and a killed run ends as one that was not."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cases import tracked_training  # noqa: E402
from cases.networks import batches, mlp  # noqa: E402
from cases.ranked import on_ranks  # noqa: E402
from cases.ranked_networks import tracked  # noqa: E402
from cases.soak import SOAK  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402
from fastlanczos.tracking import measure  # noqa: E402

F = torch.nn.functional
SMALL = {"k": 2, "num_probes": 1, "num_steps": 5}


def hessian(model=None):
    return flt.HessianOperator(model or mlp(), F.cross_entropy, batches())


def steps_measured(tracker, calls=12, **given):
    return [m.step for m in (tracker.step(**given) for _ in range(calls)) if m is not None]


@pytest.mark.parametrize(
    ("every", "expected"),
    [(5, [5, 10]), ([1, 7], [1, 7]), (range(3, 5), [3, 4]), (lambda step: step > 10, [11, 12]), (None, [])],
)
def test_it_measures_when_it_is_due(every, expected):
    tracker = flt.SpectrumTracker(hessian(), every, **SMALL)
    assert steps_measured(tracker) == expected
    assert [m.step for m in tracker.measurements] == expected


def test_it_measures_when_the_loss_has_changed():
    tracker = flt.SpectrumTracker(hessian(), None, loss_change=0.2, **SMALL)
    losses = [1.0, 0.9, 0.85, 0.7, 0.68, 1.5]
    assert [tracker.step(loss) is not None for loss in losses] == [True, False, False, True, False, True]
    with pytest.raises(ValueError, match="needs the loss"):
        tracker.step()


def test_training_has_the_same_bits_with_and_without_it(tmp_path):
    tracked, plain = (tracked_training.train(tmp_path / str(track), 12, track) for track in (True, False))
    assert len(flt.Records(tmp_path / "True").all()) == 4
    for a, b in zip(tracked[0] + tracked[1] + [tracked[2]], plain[0] + plain[1] + [plain[2]], strict=True):
        assert torch.equal(a, b)


def contents(folder):
    return {p.name: p.read_bytes() for p in Path(folder).iterdir() if p.name.startswith("step-")}


@pytest.mark.soak
def test_a_run_that_is_killed_and_started_again_ends_with_the_same_records(tmp_path):
    kills = 20 if SOAK else 2
    steps = 12 * kills  # so many that the last kill still finds work to do
    script = [sys.executable, tracked_training.__file__]
    subprocess.run([*script, str(tmp_path / "whole"), str(steps)], check=True)
    generator = random.Random(0)
    killed = tmp_path / "killed"
    killed.mkdir()
    for _ in range(kills):
        before = len(list(killed.glob("step-*.json")))
        running = subprocess.Popen([*script, str(killed), str(steps)])
        while running.poll() is None and len(list(killed.glob("step-*.json"))) == before:
            time.sleep(0.002)
        time.sleep(generator.uniform(0.0, 0.1))  # within the next measurement, or while it is written
        running.kill()
        running.wait()
        for m in flt.Records(killed).all():  # a warning of a damaged one would be seen here
            assert m.step % 3 == 0
    assert len(flt.Records(killed).all()) < steps // 3
    subprocess.run([*script, str(tmp_path / "killed"), str(steps)], check=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert len(contents(tmp_path / "whole")) == steps // 3


def test_a_measurement_that_is_there_is_not_made_again(tmp_path):
    model = mlp()
    first = flt.SpectrumTracker(hessian(model), 2, tmp_path, **SMALL)
    assert steps_measured(first, 4) == [2, 4]
    with torch.no_grad():
        model[0].weight *= 2
    again = flt.SpectrumTracker(hessian(model), 2, tmp_path, **SMALL)
    found = [again.step() for _ in range(4)]
    assert [m.to_json() for m in found if m] == [m.to_json() for m in first.measurements]
    later = flt.SpectrumTracker(hessian(model), 2, tmp_path, start=4, **SMALL)
    assert steps_measured(later, 2) == [6]
    first.records.path(2).write_text("{")
    repaired = flt.SpectrumTracker(hessian(model), 2, tmp_path, **SMALL)
    with pytest.warns(flt.DamagedRecordWarning):
        assert steps_measured(repaired, 2) == [2]
    assert [m.step for m in repaired.measurements] == [2, 4, 6]


def test_warm_measurements_start_from_the_ones_before_and_may_be_interrupted(tmp_path, monkeypatch):
    starts = []
    concentration = measure.gradient_concentration

    def watched(*given, **named):
        starts.append(named["v0"])
        return concentration(*given, **named)

    monkeypatch.setattr(measure, "gradient_concentration", watched)

    def train(folder, begin, end):
        torch.manual_seed(0)
        model = mlp()
        tracker = flt.SpectrumTracker(hessian(model), 2, folder, warm=True, **SMALL)
        for step in range(1, end + 1):
            with torch.no_grad():
                model[0].weight *= 1.01
            if step > begin:
                tracker.step(step=step)
        return tracker

    whole = train(tmp_path / "whole", 0, 8)
    assert [None if v is None else v.shape for v in starts] == [None] + [(whole._H.shape[0], 2)] * 3
    train(tmp_path / "parts", 0, 4)
    train(tmp_path / "parts", 4, 8)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert [p.name for p in (tmp_path / "parts").glob("vectors-*")] == ["vectors-00000008.npy"]
    cold = flt.SpectrumTracker(hessian(), 2, tmp_path / "cold", **SMALL)
    assert steps_measured(cold, 2) == [2]
    for folder, warm in (("cold", True), ("whole", False)):
        with pytest.raises(ValueError, match="warm was"):
            flt.SpectrumTracker(hessian(), 2, tmp_path / folder, warm=warm, **SMALL)
    (tmp_path / "parts" / "vectors-00000008.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="missing or damaged"):
        train(tmp_path / "parts", 8, 10)


def test_measurements_of_a_sample_state_the_error_of_drawing_it():
    x, y = (torch.cat(part) for part in zip(*batches((40, 40)), strict=True))
    H = flt.HessianOperator(mlp(), F.cross_entropy, (x, y))
    (m,) = (t.measure() for t in [flt.SpectrumTracker(H, samples=32, **SMALL)])
    assert m.samples == 32
    assert set(m.sampling) == {"loss", "trace", "largest"}
    assert all(error > 0 for error in m.sampling.values())


def test_it_reads_the_learning_rate_and_tells_writers():
    model, told = mlp(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    tracker = flt.SpectrumTracker(hessian(model), 1, optimizer=optimizer, writers=[told.append], **SMALL)
    tracker.step()
    optimizer.param_groups[0]["lr"] = 0.125
    tracker.step(step=10)
    assert [(m.step, m.learning_rate) for m in told] == [(1, 0.25), (10, 0.125)]


def test_table_and_picture():
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    tracker = flt.SpectrumTracker(hessian(), 1, **SMALL)
    with pytest.raises(ValueError, match="no measurement to draw yet"):
        tracker.plot()
    steps_measured(tracker, 3)
    table = tracker.to_dataframe()
    assert list(table.index) == [1, 2, 3]
    assert {"loss", "trace", "largest", "smallest", "ratio", "concentration", "negative_mass"} <= set(table.columns)
    assert len(tracker.plot().axes) == 3


def test_it_says_what_it_is(tmp_path):
    tracker = flt.SpectrumTracker(hessian(), 2, tmp_path, **SMALL)
    steps_measured(tracker, 3)
    assert repr(tracker) == (
        f"SpectrumTracker(HessianOperator, n=53, every=2, 1 measurements in {tmp_path}, the last at step 2)"
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"H": torch.eye(3)}, TypeError, "H must be a curvature operator such as HessianOperator, got Tensor"),
        ({"every": 0}, ValueError, "every must be"),
        ({"k": 0}, ValueError, "k must be"),
        ({"loss_change": -1.0}, ValueError, "loss_change must be positive"),
    ],
)
def test_wrong_arguments_are_told_at_once(arguments, error, message):
    with pytest.raises(error, match=message):
        flt.SpectrumTracker(**{"H": hessian(), **arguments})


def test_other_settings_in_the_same_directory_are_refused(tmp_path):
    flt.SpectrumTracker(hessian(), 2, tmp_path, **SMALL)
    with pytest.raises(ValueError, match="k was 2 and is 3"):
        flt.SpectrumTracker(hessian(), 2, tmp_path, **{**SMALL, "k": 3})


def test_a_part_of_a_sum_is_refused():
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches(), normalize=False)
    with pytest.raises(ValueError, match="build the operator with normalize=True"):
        flt.SpectrumTracker(H, samples=4)


@pytest.mark.parametrize("kind", ["plain", "FSDP2"])
def test_all_ranks_measure_and_the_first_writes(tmp_path, kind):
    folder = tmp_path / "records"
    for again in (False, True):
        ranks = tmp_path / str(again)
        ranks.mkdir()
        first, second = on_ranks(2, tracked, str(folder), kind, folder=ranks)
        assert "raised" not in first, first
        assert first["steps"] == second["steps"] == [1, 2, 3, 4]  # by the first's loss
        assert (first["written"], second["written"]) == (0 if again else 4, 0)
        assert first["top"].tobytes() == second["top"].tobytes()
        assert first["samples"] == 37
    assert len(list(folder.glob("step-*.json"))) == 4
    if kind == "plain":
        (tmp_path / "alone").mkdir()
        alone = tracked(0, 0, str(tmp_path / "alone"))
        np.testing.assert_allclose(first["top"], alone["top"], rtol=1e-4)
        np.testing.assert_allclose(first["concentration"], alone["concentration"], atol=1e-3)
        assert first["loss"] == pytest.approx(alone["loss"], rel=1e-12)


def test_settings_of_another_run_are_told_to_all_ranks(tmp_path):
    for bad in (False, True):
        ranks = tmp_path / str(bad)
        ranks.mkdir()
        found = on_ranks(2, tracked, str(tmp_path / "records"), "plain", 2, bad, folder=ranks)
    assert [one["raised"] for one in found] == ["ValueError", "RankError"]
    assert all("another run's measurements" in one["says"] for one in found)
