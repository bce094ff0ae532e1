"""The tree: which folder may import from which, what the public names are, and what files of 0.1.0 still give."""

import ast
import base64
import json
import pickle
from pathlib import Path

import pytest

import fastlanczos as fl

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fastlanczos"

# From the ground up. A folder imports from lower floors and from itself, never from its own floor's neighbours.
FLOORS = [
    {"arguments", "errors", "_core", "_cuda"},
    {"arrays"},
    {"ranks"},
    {"engine"},
    {"gauss", "probes", "operators", "system", "closed_forms"},
    {"krylov"},
    {"density", "eigenpairs", "sums", "model"},
    {"curvature", "singular"},
    {"tracking", "gradients", "traceable"},
    {"torch", "report", "jax"},
    {"study"},
    {"cli"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def rooms_imported_by(path):
    """Rooms of the package that a file imports from, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fastlanczos":
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name.split(".")[1] for a in node.names if a.name.startswith("fastlanczos.")]
        else:
            continue
        yield from ((name, node.lineno) for name in names)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in SOURCES} - {"__init__", "__main__"}
    assert rooms | {"_core", "_cuda"} == set(FLOOR_OF)


def test_no_folder_imports_from_its_own_floor_or_one_above():
    wrong = []
    for path in SOURCES:
        here = room_of(path)
        if here in ("__init__", "__main__"):
            continue
        for name, line in rooms_imported_by(path):
            allowed = name == here or FLOOR_OF.get(name, 99) < FLOOR_OF[here]
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, wrong


def test_the_floors_are_those_of_the_documentation():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for room in set(FLOOR_OF) - {"_core", "_cuda"}:
        assert f"{room}/" in text or f"{room}.py" in text, room


@pytest.mark.parametrize("folder", sorted({p.parent for p in SOURCES} - {PACKAGE}), ids=lambda p: p.name)
def test_a_folder_lists_its_files(folder):
    text = (folder / "__init__.py").read_text()
    for path in folder.glob("*.py"):
        if path.name != "__init__.py":
            assert f"| `{path.stem}`" in text, f"{folder.name}/__init__.py says nothing of {path.name}"


def test_no_python_file_is_too_long_to_read():
    files = [*SOURCES, *(p for folder in ("tests", "benchmarks", "examples") for p in (ROOT / folder).rglob("*.py"))]
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in files}
    longest = max(lengths, key=lengths.get)
    assert lengths[longest] < 450, (longest, lengths[longest])


def test_no_folder_takes_the_name_of_a_public_function():
    # `fl.lanczos` would be the folder for whoever imports `fastlanczos.lanczos.iteration` first.
    assert not {p.name for p in PACKAGE.iterdir() if p.is_dir()} & set(fl.__all__)


PUBLIC = """
    AsymmetryWarning DiagonalEstimate Distances EigshState Estimate LanczosIteration LanczosResult NonFiniteError
    SpectralDensity diagonal eigencount eigsh funm_multiply get_include get_num_threads lanczos logdet quadrature
    set_num_threads show_config spectral_density trace
"""
PUBLIC_TORCH = """
    CurvatureOperator DamagedRecordWarning FisherOperator GGNOperator GradientConcentration HessianOperator
    Measurement Records Schedule SpectrumTracker gradient_concentration lightning_callback measure predict_loss
    tensorboard_writer trainer_callback wandb_writer
"""


def test_no_public_name_of_0_1_0_has_moved():
    assert set(PUBLIC.split()) <= set(fl.__all__)
    assert all(hasattr(fl, name) for name in fl.__all__)
    pytest.importorskip("torch")
    import fastlanczos.torch as flt

    assert set(PUBLIC_TORCH.split()) <= set(flt.__all__)
    assert all(hasattr(flt, name) for name in flt.__all__)


FORMATS = json.loads((Path(__file__).parent / "formats_of_0.1.0.json").read_text())


@pytest.mark.parametrize("name", FORMATS["pickles"])
def test_a_pickle_of_0_1_0_is_read(name):
    if name in ("GradientConcentration", "Measurement", "Schedule", "DamagedRecordWarning"):
        pytest.importorskip("torch")
    found = pickle.loads(base64.b64decode(FORMATS["pickles"][name]))
    assert name == "state_dict" or type(found).__name__ == name
    assert pickle.loads(pickle.dumps(found)).__class__ is found.__class__
    if name == "LanczosResult":
        assert found.basis.shape == (4, 12)
    if name == "SpectralDensity":
        assert found.cdf(10.0) == pytest.approx(1.0)
    if name == "state_dict":
        assert fl.LanczosIteration.from_state_dict(found).num_steps == 3


def test_a_density_file_and_records_of_0_1_0_are_read(tmp_path):
    (tmp_path / "density.npz").write_bytes(base64.b64decode(FORMATS["npz"]))
    pickled = pickle.loads(base64.b64decode(FORMATS["pickles"]["SpectralDensity"]))
    loaded = fl.SpectralDensity.load(tmp_path / "density.npz")
    assert loaded.nodes.tobytes() == pickled.nodes.tobytes()
    assert loaded.info == pickled.info

    from fastlanczos.tracking.records import Records

    for name, text in FORMATS["records"].items():
        (tmp_path / name).write_text(text)
    (record,) = Records(tmp_path).all()
    assert (record.step, len(record.top), record.samples) == (1, 2, 8)
