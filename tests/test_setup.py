"""setup.py: what somebody without a compiler is told, and what a source distribution holds."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("pybind11")

ROOT = Path(__file__).parent.parent


def test_without_a_compiler_the_error_says_what_to_install(tmp_path):
    folders = ["--build-temp", str(tmp_path / "temp"), "--build-lib", str(tmp_path / "lib")]
    environment = os.environ | {"CC": "/no/such/compiler", "CXX": "/no/such/compiler"}
    command = [sys.executable, "setup.py", "build_ext", *folders]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Install a C++ compiler" in done.stderr
    assert "apt-get install g++" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_source_distribution_holds_all_that_compiling_needs(tmp_path):
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path), "sdist", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    headers = {str(p.relative_to(ROOT)) for p in (ROOT / "csrc").rglob("*") if p.is_file()}
    assert headers | {"setup.py", "pyproject.toml", "LICENSE", "README.md", "fastlanczos/py.typed"} <= names


def test_a_wrong_wish_for_cuda_is_told():
    environment = os.environ | {"FASTLANCZOS_CUDA": "yes"}
    command = [sys.executable, "setup.py", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert "FASTLANCZOS_CUDA must be 0 (without) or 1 (demanded), got 'yes'" in done.stderr


def test_one_architecture_may_be_asked_for(monkeypatch):
    program = "import sys; sys.argv = ['setup.py', '--version']; import setup; print(setup.architectures())"

    def printed(wanted):
        environment = os.environ | {"FASTLANCZOS_CUDA_ARCH": wanted}
        return subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, env=environment
        )

    assert "('arch=compute_90,code=sm_90',)" in printed("sm_90").stdout
    assert "compute_80" in printed("").stdout
    assert "must be one architecture such as sm_90, got 'hopper'" in printed("hopper").stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script in place of nvcc")
def test_an_nvcc_that_fails_is_told_with_the_way_around(tmp_path):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\nexit 1\n")
    nvcc.chmod(0o755)
    environment = os.environ | {"FASTLANCZOS_CUDA": "1", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    program = (
        "import sys, setuptools; sys.argv = ['setup.py', '--version']; import setup\n"
        "build = setup.BuildCore(setuptools.Distribution()); build.ensure_finalized()\n"
        f"build.build_lib = {str(tmp_path)!r}\n"
        "build.build_extension(setup.extensions[1])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert "FASTLANCZOS_CUDA=0 in the environment" in done.stderr
    assert "Traceback" not in done.stderr
