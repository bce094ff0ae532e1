"""fastlanczos/density/file.py: what is written is read back, and damage of any kind is a ValueError with the name."""

import random
import struct
import zipfile

import numpy as np
import pytest
from cases.soak import examples

import fastlanczos as fl

DENSITY = fl.SpectralDensity([[0.0, 1.0], [0.5, 2.0]], [[0.5, 0.5], [0.25, 0.75]], 100, {"seed": 3})


def test_saved_and_loaded_it_is_the_same(tmp_path):
    path = tmp_path / "new" / "density.npz"
    DENSITY.save(path)
    loaded = fl.SpectralDensity.load(path)
    assert np.array_equal(loaded.nodes, DENSITY.nodes)
    assert np.array_equal(loaded.weights, DENSITY.weights)
    assert (loaded.dim, loaded.info) == (100, {"seed": 3})
    assert [p.name for p in path.parent.iterdir()] == ["density.npz"]


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        fl.SpectralDensity.load(tmp_path / "none.npz")
    path = tmp_path / "d.npz"
    DENSITY.save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"hello", whole[:100], whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"d\.npz is not a SpectralDensity that can be read"):
            fl.SpectralDensity.load(path)
    flipped = bytearray(whole)
    flipped[whole.index(DENSITY.nodes.tobytes())] ^= 0xFF
    path.write_bytes(bytes(flipped))
    with pytest.raises(ValueError, match="is not a SpectralDensity that can be read"):
        fl.SpectralDensity.load(path)
    np.savez(path, nodes=np.ones(3))
    with pytest.raises(ValueError, match="is not a SpectralDensity"):
        fl.SpectralDensity.load(path)
    np.savez(path, format="fastlanczos.SpectralDensity", version=99)
    with pytest.raises(ValueError, match="version 99, this fastlanczos reads up to 1: upgrade"):
        fl.SpectralDensity.load(path)
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match="is not a SpectralDensity"):
        fl.SpectralDensity.load(path)


def test_other_layouts_of_memory_and_no_info_are_kept(tmp_path):
    density = fl.SpectralDensity(np.asfortranarray(DENSITY.nodes), np.asfortranarray(DENSITY.weights), 100)
    density.save(tmp_path / "d.npz")
    loaded = fl.SpectralDensity.load(tmp_path / "d.npz")
    assert np.array_equal(loaded.nodes, DENSITY.nodes)
    assert loaded.info == {}


def parts(**changes):
    values = {"format": "fastlanczos.SpectralDensity", "version": 1, "nodes": DENSITY.nodes, "dim": 100}
    keys = np.array([], dtype=np.str_)
    return {**values, "weights": DENSITY.weights, "info_keys": keys, "info_values": keys} | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"dim": -5},
        {"dim": np.arange(3)},
        {"dim": 2.5},
        {"dim": "many"},
        {"version": np.arange(2)},
        {"nodes": np.array(["a"])},
        {"nodes": DENSITY.nodes + 1j},
        {"weights": np.ones(7)},
        {"info_keys": np.array(["seed"]), "info_values": np.array(["__import__('os')"])},
        {"info_keys": np.array(["seed"])},
        {"info_keys": np.array(["seed"]), "info_values": np.array(["(" * 300])},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_parts_that_do_not_fit_are_told(tmp_path, changes):
    np.savez(tmp_path / "d.npz", **parts(**changes))
    with pytest.raises(ValueError, match=r"d\.npz is not a SpectralDensity that can be read"):
        fl.SpectralDensity.load(tmp_path / "d.npz")


@pytest.mark.parametrize("shape", [(2**50,), (2**17, 2**14), (2**62, 8)])
def test_a_header_that_claims_more_than_there_is_takes_no_memory(tmp_path, shape):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape!r}, }}".ljust(117) + "\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(64)
    np.savez(tmp_path / "whole.npz", **parts())
    with zipfile.ZipFile(tmp_path / "whole.npz") as whole, zipfile.ZipFile(tmp_path / "d.npz", "w") as damaged:
        for name in whole.namelist():
            damaged.writestr(name, member if name == "nodes.npy" else whole.read(name))
    with pytest.raises(ValueError, match=r"d\.npz is not .*nodes claims to be"):
        fl.SpectralDensity.load(tmp_path / "d.npz")


@pytest.mark.soak
def test_whatever_is_done_to_a_file_is_told(tmp_path):
    path = tmp_path / "d.npz"
    DENSITY.save(path)
    whole = path.read_bytes()
    generator = random.Random(0)
    loaded = 0
    for _ in range(examples(3000)):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(damaged))
            how = generator.randrange(4)
            if how == 0:
                damaged[at] ^= 1 << generator.randrange(8)
            elif how == 1:
                damaged[at] = generator.randrange(256)
            elif how == 2:
                del damaged[at : at + generator.randint(1, 20)]
            else:
                damaged[at:at] = generator.randbytes(generator.randint(1, 20))
            if not damaged:
                break
        path.write_bytes(bytes(damaged))
        try:
            fl.SpectralDensity.load(path)
            loaded += 1  # bits that mean nothing: dates, flags that nobody reads
        except ValueError as error:
            if "d.npz" not in str(error):
                raise
    assert loaded < examples(3000) / 2
