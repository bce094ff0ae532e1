"""The compiled extension and the list of packages; everything else about the package is in pyproject.toml."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pybind11
from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import Extension, find_packages, setup
from setuptools.errors import CompileError, LinkError, PlatformError

HEADERS = sorted(str(p) for p in Path("csrc").rglob("*") if p.suffix in (".h", ".hpp", ".inl", ".cuh"))

NO_COMPILER = """
fastlanczos compiles a C++17 extension, and that failed (the compiler's own message, if it has one, stands above).
Install a C++ compiler and run the same command again:
    Debian, Ubuntu:   apt-get install g++
    Fedora:           dnf install gcc-c++
    macOS:            xcode-select --install
    Windows:          the "Desktop development with C++" workload of the Visual Studio Build Tools
    conda:            conda install -c conda-forge cxx-compiler
"""


NVCC_FAILED = """
nvcc could not compile fastlanczos' CUDA engine (its own message stands above). FASTLANCZOS_CUDA=0 in the environment
installs without it. nvcc may also be too old, or want an older C++ compiler: NVCC_PREPEND_FLAGS="-ccbin g++-12".
"""

# Machine code for A100 and H100/H200, and PTX that the driver compiles for whatever is newer.
ARCHITECTURES = ("arch=compute_80,code=sm_80", "arch=compute_90,code=[sm_90,compute_90]")


def architectures():
    """Return what nvcc compiles for; FASTLANCZOS_CUDA_ARCH=sm_90 makes it that alone, in half of the time."""
    wanted = os.environ.get("FASTLANCZOS_CUDA_ARCH", "")
    if not wanted:
        return ARCHITECTURES
    if not re.fullmatch(r"sm_\d+[af]?", wanted):
        raise SystemExit(f"FASTLANCZOS_CUDA_ARCH must be one architecture such as sm_90, got {wanted!r}")
    return (f"arch=compute_{wanted[3:]},code={wanted}",)


def find_nvcc():
    """Return nvcc's path, or None where FASTLANCZOS_CUDA=0 forbids it or there is none."""
    wanted = os.environ.get("FASTLANCZOS_CUDA", "")
    if wanted not in ("", "0", "1"):
        raise SystemExit(f"FASTLANCZOS_CUDA must be 0 (without) or 1 (demanded), got {wanted!r}")
    if wanted == "0":
        return None
    toolkits = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ] + ["/usr/local/cuda"]
    nvcc = shutil.which("nvcc") or next(filter(None, (shutil.which("nvcc", path=f"{t}/bin") for t in toolkits)), None)
    if nvcc is None and wanted == "1":
        raise SystemExit("FASTLANCZOS_CUDA=1 demands nvcc, and there is none in PATH, CUDA_HOME or /usr/local/cuda")
    return nvcc


class BuildCore(build_ext):
    """Compile with the flags that the compiler understands, and say what to install where there is none.

    FASTLANCZOS_WERROR=1 makes warnings errors; FASTLANCZOS_SANITIZE=address,undefined (or thread) builds for `make
    sanitize`.
    """

    def build_extension(self, extension):
        if not extension.name.endswith("_cuda"):
            super().build_extension(extension)
            return
        target = Path(self.get_ext_fullpath(extension.name))
        depends = [Path(p) for p in (*extension.sources, *extension.depends)]
        if not self.force and target.exists() and target.stat().st_mtime > max(p.stat().st_mtime for p in depends):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [find_nvcc(), "-O3", "-std=c++17", "-shared", "--cudart", "static", "--threads", "2"]
        command += [f"-gencode={architecture}" for architecture in architectures()]
        command += ["-Xcompiler", "-fPIC,-fvisibility=hidden"] if os.name == "posix" else []
        command += [f"-I{folder}" for folder in (*extension.include_dirs, *self.include_dirs)]
        try:
            subprocess.run([*command, *extension.sources, "-o", str(target)], check=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise SystemExit(f"{error}\n{NVCC_FAILED}") from error

    def build_extensions(self):
        for extension in self.extensions:
            if extension.name.endswith("_cuda"):
                continue
            if self.compiler.compiler_type == "msvc":
                extension.extra_compile_args += ["/O2"]
                continue
            # -ffp-contract=fast: fused multiply-adds where the chosen instruction set has them.
            flags = ["-O3", "-pthread", "-fno-math-errno", "-ffp-contract=fast", "-Wall", "-Wextra"]
            if os.environ.get("FASTLANCZOS_WERROR") == "1":
                flags += ["-Werror"]
            if sanitizers := os.environ.get("FASTLANCZOS_SANITIZE"):
                sanitize = f"-fsanitize={sanitizers}"
                flags += [sanitize, "-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
                extension.extra_link_args += [sanitize]
            extension.extra_compile_args += flags
            extension.extra_link_args += ["-pthread"]
        try:
            super().build_extensions()
        except (CompileError, LinkError, PlatformError) as error:
            raise SystemExit(f"{error}\n{NO_COMPILER}") from error


extensions = [
    Pybind11Extension(
        "fastlanczos._core",
        ["csrc/bindings/core.cpp"],
        include_dirs=["csrc/include"],
        depends=HEADERS,
        cxx_std=17,
    )
]
if find_nvcc():
    extensions.append(
        Extension(
            "fastlanczos._cuda",
            ["csrc/bindings/cuda.cu"],
            include_dirs=["csrc/include", pybind11.get_include()],
            depends=HEADERS,
        )
    )

# The headers are installed too, as packages without Python files: fastlanczos/include/fastlanczos/step.hpp.
headers = {
    "fastlanczos.include." + ".".join(folder.relative_to("csrc/include").parts): folder.as_posix()
    for folder in sorted({Path(header).parent for header in HEADERS if header.startswith("csrc/include")})
}

setup(
    packages=[*find_packages(include=["fastlanczos", "fastlanczos.*"]), *headers],
    package_dir=headers,
    ext_modules=extensions,
    cmdclass={"build_ext": BuildCore},
)
