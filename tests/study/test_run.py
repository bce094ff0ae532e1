"""fastlanczos/study/run.py: all of a study in small, its files, and going on with it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("plotly")

from cases.study import TINY

from fastlanczos.report.results import Results
from fastlanczos.study import run as module
from fastlanczos.study.run import load_images, run
from fastlanczos.study.validation import validate


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:  # the whole validation is that of the demo, which has tests of its own
        patch.setattr(module, "validate", lambda data: validate((data[0][:100], data[1][:100]), (5, 10), (1, 2)))
        return run(folder, settings=TINY, jobs=1, progress=False), folder


def records(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*.json")) if p.parent != folder}


def test_each_claim_gets_a_number_and_a_verdict(finished):
    found, folder = finished
    assert len(found) == 17
    assert all(len(one.values) == 1 and np.isfinite(one.mean) for one in found if "faster" not in one.claim.key)
    assert {one.verdict for one in found} == {"undecided"}
    assert {one.leaning for one in found} == {"for it", "against it"}
    written = json.loads((folder / "findings.json").read_text())["findings"]
    assert [one["verdict"] for one in written] == [one.verdict for one in found]


def test_everything_is_measured_and_drawn(finished):
    _, folder = finished
    results = Results.read(folder)
    assert len(results.runs) == 4
    for one in results.runs:
        assert [m.step for m in one.measurements] == [0, 4, 6]
        assert [m.step for m in one.population] == ([4] if "batch norm" in one.name else [])
        assert [m.learning_rate for m in one.measurements] == [0.02, 0.02, 0.002]
        assert list(one.descents) == [4]
        assert len(one.losses) == 6
    assert sorted(p.name[:2] for p in (folder / "figures").iterdir()) == [f"F{i}" for i in range(1, 9)]
    assert (folder / "report.html").stat().st_size > 10**6


def test_what_was_stopped_goes_on_and_ends_the_same(finished, tmp_path):
    _, folder = finished
    begun = tmp_path / "begun"
    shutil.copytree(folder, begun)
    for path in [*begun.rglob("step-00000006.json"), *begun.rglob("descent-*.json"), *begun.rglob("training.json")]:
        path.unlink()
    run(begun, settings=TINY, jobs=1, progress=False)
    assert records(begun) == records(folder)


def test_another_seed_is_added_for_what_is_undecided_and_processes_make_no_difference(finished, tmp_path):
    _, folder = finished
    begun = tmp_path / "begun"
    (begun / "runs" / "plain").mkdir(parents=True)
    shutil.copytree(folder / "runs" / "plain" / "seed-0", begun / "runs" / "plain" / "seed-0")
    shutil.copy(folder / "validation.json", begun)
    names = ("residual", "plain")
    found = run(begun, settings=replace(TINY, networks=names, max_seeds=2), jobs=2, progress=False)
    assert len(found) == 9
    assert {len(one.seeds) for one in found} == {2}
    one = {k: v for k, v in records(folder).items() if "residual/" in str(k)}
    assert one
    assert {k: v for k, v in records(begun).items() if k in one} == one


def test_no_seed_is_begun_after_the_hours(finished, tmp_path):
    _, folder = finished
    begun = tmp_path / "begun"
    shutil.copytree(folder, begun)
    (begun / "settings.json").unlink()
    found = run(begun, settings=replace(TINY, max_seeds=5), hours=0.0, jobs=1, progress=False)
    assert {tuple(one.seeds) for one in found} == {(0,)}


def test_other_settings_in_the_same_folder_are_refused(finished):
    _, folder = finished
    with pytest.raises(ValueError, match=r"holds another study .*seeds was 1 and is 4"):
        run(folder, progress=False)


def test_images_of_every_kind_are_found(tmp_path):
    name, (images, labels) = load_images()
    assert (name, images.shape, len(labels)) == ("digits", (1797, 1, 28, 28), 1797)
    assert abs(float(images.mean())) < 1e-5
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        load_images(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="neither MNIST's files"):
        load_images(tmp_path)
    generator = np.random.default_rng(0)
    rows = generator.integers(256, size=(5, 3073), dtype=np.uint8)
    rows[:, 0] = np.arange(5)
    rows.tofile(tmp_path / "data_batch_1.bin")
    name, (images, labels) = load_images(tmp_path)
    assert (name, images.shape, labels.tolist()) == ("CIFAR-10", (5, 3, 32, 32), [0, 1, 2, 3, 4])
