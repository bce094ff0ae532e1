import os
import subprocess
import sys

import pytest

import fastlanczos as fl
from fastlanczos.config import config


def test_show_config_prints_build_threads_cuda_and_versions(capsys):
    fl.show_config()
    printed = capsys.readouterr().out
    for word in ("version", "compiler", "openmp", "instruction set", "threads", "cuda", "numpy", "scipy"):
        assert word in printed
    assert config()["machine"]["threads"] == fl.get_num_threads()


@pytest.mark.parametrize("variable", ["FASTLANCZOS_NUM_THREADS", "OMP_NUM_THREADS"])
def test_threads_come_from_the_environment(variable):
    environment = {k: v for k, v in os.environ.items() if k not in ("FASTLANCZOS_NUM_THREADS", "OMP_NUM_THREADS")}
    command = [sys.executable, "-c", "import fastlanczos as fl; print(fl.get_num_threads())"]
    done = subprocess.run(command, env=environment | {variable: "3"}, capture_output=True, text=True, check=True)
    expected = "3" if config()["fastlanczos"]["openmp"] != "not found when this was built: one thread" else "1"
    assert done.stdout.strip() == expected


def test_a_number_of_threads_that_is_none_is_warned_of():
    command = [sys.executable, "-W", "error", "-c", "import fastlanczos"]
    environment = os.environ | {"FASTLANCZOS_NUM_THREADS": "many"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "FASTLANCZOS_NUM_THREADS='many' is not a number of threads" in done.stderr


@pytest.mark.parametrize(("threads", "error"), [(0, ValueError), (-2, ValueError), (1.5, TypeError)])
def test_bad_numbers_of_threads_are_told(threads, error):
    with pytest.raises(error, match="threads must be"):
        fl.set_num_threads(threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_runs_and_gives_the_same_bits():
    program = (
        "import os, numpy as np, fastlanczos as fl\n"
        "fl.set_num_threads(2)\n"
        "d = np.linspace(0, 1, 200_000)\n"
        "run = lambda: fl.lanczos(lambda v: d * v, 200_000, 20, seed=0).alpha.tobytes()\n"
        "expected = run()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if run() == expected and fl.get_num_threads() == 1 else 3)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert run() == expected\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
