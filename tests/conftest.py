"""What every test starts from."""

import os
import signal
import tempfile

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

# A job in the background starts with Ctrl-C ignored, and so would every program that a test starts and then interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Ranks of a test find one another whatever the machine's name stands for.
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

# The same examples in every run of `make test`, new ones in every soak; nothing is written into the source tree.
settings.register_profile("test", derandomize=True, database=None, deadline=None)
settings.register_profile("soak", database=None, deadline=None, print_blob=True)
settings.load_profile("soak" if os.environ.get("FASTLANCZOS_SOAK") == "1" else "test")

# These hold no tests; under --doctest-modules they would be imported a second time, by another name.
collect_ignore_glob = ["cases/*", "csrc/cuda_emulation/*", "faults/*"]

# Files that take longest, first: a worker takes whole files, and the last one should be a short one.
LONGEST = (
    "benchmarks/test_gpu_check",
    "study/test_run",
    "curvature/test_operator",
    "csrc/test_cuda_kernels",
    "eigenpairs/test_eigsh_on_device",
)


def pytest_configure(config):
    """Let all processes of a test run share one compiled emulation of the GPU."""
    if "FASTLANCZOS_EMULATION" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="fastlanczos-emulation-")
        os.environ["FASTLANCZOS_EMULATION"] = folder.name
        config.add_cleanup(folder.cleanup)
    set_hypothesis_home_dir(os.environ["FASTLANCZOS_EMULATION"])


def pytest_collection_modifyitems(items):
    """Put the longest files first."""

    def rank(item):
        path = item.nodeid.split("::")[0]
        return next((i for i, name in enumerate(LONGEST) if name in path), len(LONGEST))

    items.sort(key=rank)


@pytest.fixture(autouse=True, scope="module")
def _as_many_threads_afterwards():
    """Give the engine as many threads after a file as before it."""
    import fastlanczos as fl

    before = fl.get_num_threads()
    yield
    fl.set_num_threads(before)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    """The engine on the emulated GPU."""
    import fake_gpu

    return fake_gpu.FakeGpu(fake_gpu.build(tmp_path_factory.mktemp("emulated")))


@pytest.fixture
def gpu(emulated, monkeypatch):
    """The emulated GPU, whose arrays the package takes for those of a framework."""
    import fake_gpu

    from fastlanczos.arrays import frameworks
    from fastlanczos.engine import cuda

    monkeypatch.setattr(cuda, "_cuda", emulated.module)
    monkeypatch.setitem(frameworks.FRAMEWORKS, "fake_gpu", fake_gpu.Framework)
    emulated.configure()
    return emulated
