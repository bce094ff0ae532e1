"""fastlanczos.h: from C, Fortran and Numba the bits that Python has, and errors that say what is wrong."""

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

import fastlanczos as fl

ROOT = Path(__file__).parent.parent.parent
INCLUDE = ROOT / "csrc" / "include"
FLAGS = ["-O3", "-std=c++17", "-pthread", "-ffp-contract=fast", "-fno-math-errno"]
SIDE, STEPS = 60, 200
N = SIDE * SIDE


def multiply(x):
    """The Laplacian, in the order of the programs' sums."""
    x = x.reshape(SIDE, SIDE)
    y = 4.0 * x
    y[1:] -= x[:-1]
    y[:-1] -= x[1:]
    y[:, 1:] -= x[:, :-1]
    y[:, :-1] -= x[:, 1:]
    return y.ravel()


def start():
    i = np.arange(N)
    return (i * i % 97 + 1).astype(np.float64)


@pytest.fixture(scope="module")
def alpha():
    return fl.lanczos(multiply, N, num_steps=STEPS, v0=start()).alpha


@pytest.fixture(scope="module")
def object_file(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("no g++ here")
    target = tmp_path_factory.mktemp("c") / "c_interface.o"
    source = INCLUDE / "fastlanczos" / "c_interface.cpp"
    subprocess.run(["g++", *FLAGS, "-Wall", "-Wextra", "-Werror", "-c", str(source), "-o", str(target)], check=True)
    return target


def output_of(command, program):
    subprocess.run([*command, "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_c_program_has_pythons_bits(object_file, alpha, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    source = str(ROOT / "examples" / "c" / "laplacian.c")
    command = ["gcc", "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}", source, str(object_file)]
    lines = output_of([*command, "-lstdc++", "-lm", "-pthread"], tmp_path / "laplacian")
    assert [float.fromhex(line) for line in lines[1:]] == alpha.tolist()


def test_a_fortran_program_has_pythons_bits(object_file, alpha, tmp_path):
    if shutil.which("gfortran") is None:
        pytest.skip("no gfortran here")
    source = str(ROOT / "examples" / "fortran" / "laplacian.f90")
    command = ["gfortran", "-O2", f"-J{tmp_path}", source, str(object_file), "-lstdc++", "-pthread"]
    lines = output_of(command, tmp_path / "laplacian")
    assert [struct.unpack(">d", bytes.fromhex(line))[0] for line in lines[1:]] == alpha.tolist()


@pytest.fixture(scope="module")
def library():
    lib = ctypes.CDLL(fl.get_library())
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    lib.fastlanczos_create.argtypes = [number, number, ctypes.c_int, pointer]
    lib.fastlanczos_free.argtypes = [pointer]
    lib.fastlanczos_start.argtypes = [pointer, pointer]
    lib.fastlanczos_vector.argtypes = [pointer]
    lib.fastlanczos_vector.restype = pointer
    lib.fastlanczos_step.argtypes = [pointer, pointer]
    lib.fastlanczos_advance.argtypes = [pointer, number, pointer, pointer]
    lib.fastlanczos_steps.argtypes = [pointer]
    lib.fastlanczos_steps.restype = number
    lib.fastlanczos_result.argtypes = [pointer, pointer, pointer, pointer]
    lib.fastlanczos_row.argtypes = [pointer, number, pointer]
    lib.fastlanczos_quadrature.argtypes = [number, pointer, pointer, pointer, pointer]
    lib.fastlanczos_message.argtypes = [pointer]
    lib.fastlanczos_message.restype = ctypes.c_char_p
    return lib


def test_a_numba_function_has_pythons_bits(library, alpha):
    numba = pytest.importorskip("numba")
    create, begin, step = library.fastlanczos_create, library.fastlanczos_start, library.fastlanczos_step
    vector, result, free = library.fastlanczos_vector, library.fastlanczos_result, library.fastlanczos_free

    @numba.njit
    def run(v0, steps, alpha, beta, norm):
        n = len(v0)
        handle = np.zeros(1, np.int64)
        if create(n, steps, 8, handle.ctypes.data) < 0 or begin(handle[0], v0.ctypes.data) < 0:
            return False
        x = numba.carray(address_to_pointer(vector(handle[0])), (n,), np.float64)
        y = np.empty(n)
        code = 0
        while code == 0:
            for i in range(n):
                y[i] = 4.0 * x[i]
                if i >= SIDE:
                    y[i] -= x[i - SIDE]
                if i + SIDE < n:
                    y[i] -= x[i + SIDE]
                if i % SIDE > 0:
                    y[i] -= x[i - 1]
                if i % SIDE + 1 < SIDE:
                    y[i] -= x[i + 1]
            code = step(handle[0], y.ctypes.data)
        result(handle[0], alpha.ctypes.data, beta.ctypes.data, norm.ctypes.data)
        free(handle[0])
        return code == 1

    from numba.core import cgutils, types
    from numba.extending import intrinsic

    @intrinsic
    def address_to_pointer(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], cgutils.voidptr_t)

        return types.voidptr(address), codegen

    found, beta, norm = np.empty(STEPS), np.empty(STEPS - 1), np.empty(1)
    assert run(start(), STEPS, found, beta, norm)
    assert found.tolist() == alpha.tolist()


class Handle:
    """A run by ctypes."""

    def __init__(self, library, n, steps, basis=8):
        self.library, self.address = library, ctypes.c_void_p()
        self.code = library.fastlanczos_create(n, steps, basis, ctypes.byref(self.address))

    @property
    def message(self):
        return self.library.fastlanczos_message(self.address).decode()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.library.fastlanczos_free(self.address)


MATVEC = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


def of_diagonal(d, stop_at=None):
    count = [0]

    def product(n, x, y, data):
        if count[0] == stop_at:
            return 1
        count[0] += 1
        values = np.ctypeslib.as_array(ctypes.cast(x, ctypes.POINTER(ctypes.c_double)), (n,))
        np.ctypeslib.as_array(ctypes.cast(y, ctypes.POINTER(ctypes.c_double)), (n,))[:] = d * values
        return 0

    return MATVEC(product)


@pytest.mark.parametrize(
    ("basis", "reorthogonalize", "dtype"), [(0, "none", "float64"), (4, "full", "float32"), (8, "full", "float64")]
)
def test_advance_rows_and_quadrature(library, basis, reorthogonalize, dtype):
    d = np.linspace(1.0, 2.0, 300)
    v0 = np.random.default_rng(0).standard_normal(300)
    expected = fl.lanczos(lambda v: d * v, 300, num_steps=40, v0=v0, reorthogonalize=reorthogonalize, basis_dtype=dtype)
    with Handle(library, 300, 40, basis) as run:
        assert library.fastlanczos_start(run.address, v0.ctypes.data) == 0
        product = of_diagonal(d)
        assert library.fastlanczos_advance(run.address, 10, product, None) == 0
        assert library.fastlanczos_steps(run.address) == 10
        assert library.fastlanczos_advance(run.address, 1000, product, None) == 1
        alpha, beta, norm = np.empty(40), np.empty(39), np.empty(1)
        library.fastlanczos_result(run.address, alpha.ctypes.data, beta.ctypes.data, norm.ctypes.data)
        assert alpha.tolist() == expected.alpha.tolist()
        assert beta.tolist() == expected.beta.tolist()
        assert norm[0] == expected.residual_norm
        row = np.empty(300)
        code = library.fastlanczos_row(run.address, 7, row.ctypes.data)
        if basis:
            assert code == 0
            assert row.tolist() == expected.basis[7].tolist()
        else:
            assert code == -1
            assert "no basis" in run.message
        nodes, weights = np.empty(40), np.empty(40)
        assert library.fastlanczos_quadrature(40, *(x.ctypes.data for x in (alpha, beta, nodes, weights))) == 1
        theta, w = fl.quadrature(alpha, beta)
        assert nodes.tolist() == theta.tolist()
        assert weights.tolist() == w.tolist()


def test_breakdown_is_told(library):
    d = np.repeat([1.0, 2.0, 3.0], 10)
    with Handle(library, 30, 20) as run:
        library.fastlanczos_start(run.address, np.ones(30).ctypes.data)
        assert library.fastlanczos_advance(run.address, 20, of_diagonal(d), None) == 2
        assert library.fastlanczos_steps(run.address) == 3


def test_errors_say_what_is_wrong(library):
    assert Handle(library, 0, 5).code == -1
    assert b"at least 1" in library.fastlanczos_message(None)
    assert Handle(library, 5, 5, 16).code == -1
    assert Handle(library, 2**60, 2).code == -2
    assert b"memory" in library.fastlanczos_message(None)
    d = np.arange(1.0, 21.0)
    with Handle(library, 20, 10) as run:
        assert library.fastlanczos_step(run.address, d.ctypes.data) == -1
        assert "fastlanczos_start comes first" in run.message
        assert library.fastlanczos_start(run.address, np.zeros(20).ctypes.data) == -1
        assert "v0 is zero" in run.message
        assert library.fastlanczos_start(run.address, np.ones(20).ctypes.data) == 0
        assert library.fastlanczos_advance(run.address, 10, of_diagonal(d, stop_at=3), None) == -4
        assert library.fastlanczos_steps(run.address) == 3
        assert "step 4" in run.message
        assert library.fastlanczos_step(run.address, np.full(20, np.nan).ctypes.data) == -3
        assert "NaN" in run.message
        assert library.fastlanczos_steps(run.address) == 3
        assert library.fastlanczos_advance(run.address, 10, of_diagonal(d), None) == 1
        assert library.fastlanczos_step(run.address, d.ctypes.data) == -1
        assert "finished" in run.message
    nan = np.full(3, np.nan)
    assert library.fastlanczos_quadrature(3, *[nan.ctypes.data] * 4) == -3
    library.fastlanczos_free(None)
