"""fastlanczos/cli.py: exit statuses, messages, and how a command is stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from fastlanczos import cli


def test_include_prints_the_headers_folder(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--include"])
    assert stopped.value.code == 0
    folder = Path(capsys.readouterr().out.strip())
    assert (folder / "fastlanczos" / "tridiagonal.hpp").exists()


def test_info_prints_the_configuration(capsys):
    assert cli.main(["info"]) == 0
    assert "instruction set" in capsys.readouterr().out


def test_errors_are_told_in_one_line(capsys, tmp_path):
    assert cli.main(["demo", "--mnist", str(tmp_path)]) == 1
    assert "fastlanczos: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["demo", "--samples", "0"])
    assert "must be at least 1, got 0" in capsys.readouterr().err


def test_control_c_leaves_no_half_written_file(tmp_path):
    command = [sys.executable, "-m", "fastlanczos", "demo", "--output", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while "training" not in process.stderr.readline(200):
        assert process.poll() is None
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert not (tmp_path / "out").exists() or not os.listdir(tmp_path / "out")
