"""The emulated GPU, as a framework whose arrays live on it."""

import sys
from pathlib import Path

import pytest

from fastlanczos.arrays import frameworks
from fastlanczos.engine import cuda

sys.path.insert(0, str(Path(__file__).parent.parent / "csrc" / "cuda_emulation"))
import fake_gpu


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    return fake_gpu.FakeGpu(fake_gpu.build(tmp_path_factory.mktemp("emulated")))


@pytest.fixture
def gpu(emulated, monkeypatch):
    monkeypatch.setattr(cuda, "_cuda", emulated.module)
    monkeypatch.setitem(frameworks.FRAMEWORKS, "fake_gpu", fake_gpu.Framework)
    emulated.configure()
    return emulated
