"""scipy's own tests of `eigsh`, run on ours: all pass but two, whose operators are not symmetric."""

import importlib
import re
import subprocess
import sys

import pytest

pytest.importorskip("scipy.sparse.linalg._eigen.arpack.tests.test_arpack")

# A plugin for pytest: it is imported before the tests are, which then find our function by scipy's name.
PLUGIN = """
import importlib
import fastlanczos
importlib.import_module("scipy.sparse.linalg._eigen.arpack").eigsh = fastlanczos.eigsh
"""
# An upper triangular matrix, and products that differ from call to call.
NOT_SYMMETRIC = {"test_eigsh_for_k_greater", "test_reentering"}


def test_all_but_two_pass_and_these_are_refused(tmp_path):
    (tmp_path / "replaced_eigsh.py").write_text(PLUGIN)
    file = importlib.import_module("scipy.sparse.linalg._eigen.arpack.tests.test_arpack").__file__
    options = ["-p", "replaced_eigsh", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=line", "-rf"]
    chosen = "symmetric or hermitian or eigsh or reentering or arpackng or ticket or deallocation or parallel"
    command = [sys.executable, "-m", "pytest", *options, "-k", f"({chosen}) and not nonsymmetric", file]
    environment = {"PYTHONPATH": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    failed = set(re.findall(r"^FAILED .*::(\w+)", done.stdout, flags=re.M))
    assert failed == NOT_SYMMETRIC, done.stdout[-3000:]
    refused = re.findall(r"NotSymmetricError: the operator is not symmetric", done.stdout)
    assert len(refused) >= len(NOT_SYMMETRIC)
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert passed >= 400
