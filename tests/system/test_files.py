import os

import pytest

from fastlanczos.system.files import write_whole


def test_an_interrupted_file_is_what_it_was_before(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")

    def write():
        with write_whole(path, "w") as file:
            file.write("new, but only h")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_whole_file_takes_its_place_in_a_new_folder(tmp_path):
    path = tmp_path / "a" / "b.bin"
    with write_whole(path) as file:
        file.write(b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
