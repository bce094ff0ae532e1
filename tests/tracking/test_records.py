"""fastlanczos/tracking/records.py: files that are whole, named, and never silently left out."""

import pytest

torch = pytest.importorskip("torch")

from cases.networks import batches, mlp  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402

F = torch.nn.functional


@pytest.fixture(scope="module")
def measurement():
    return flt.measure(flt.HessianOperator(mlp(), F.cross_entropy, batches()), step=3, k=2, num_probes=1, num_steps=5)


def test_what_is_added_is_read(tmp_path, measurement):
    records = flt.Records(tmp_path / "run")
    assert records.all() == []
    assert records.get(3) is None
    records.add(measurement)
    assert records.get(3).to_json() == measurement.to_json()
    assert [m.step for m in records.all()] == [3]
    assert [p.name for p in records.directory.iterdir()] == ["step-00000003.json"]


def test_a_damaged_record_is_named_and_left_out(tmp_path, measurement):
    records = flt.Records(tmp_path)
    records.add(measurement)
    records.path(5).write_text(measurement.to_json()[:100])
    with pytest.warns(flt.DamagedRecordWarning, match=r"step-00000005\.json is left out: not a complete record"):
        assert [m.step for m in records.all()] == [3]
    with pytest.warns(flt.DamagedRecordWarning):
        assert records.get(5) is None


def test_files_of_others_are_left_alone(tmp_path, measurement):
    records = flt.Records(tmp_path)
    records.add(measurement)
    (tmp_path / "step-last.json").write_text("mine")
    (tmp_path / ".step-00000009.json.x.part").write_text("half")
    assert [m.step for m in records.all()] == [3]


def test_other_settings_in_one_folder_are_refused(tmp_path):
    records = flt.Records(tmp_path)
    records.settle({"k": 10, "seed": 0})
    records.settle({"k": 10, "seed": 0})
    with pytest.raises(ValueError, match=r"another run's measurements \(k was 10 and is 12\)"):
        records.settle({"k": 12, "seed": 0})
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(ValueError, match=r"settings\.json is damaged"):
        records.settle({"k": 10})
