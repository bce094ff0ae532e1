"""The compiled extension; everything else about the package is in pyproject.toml."""

import os
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup
from setuptools.errors import CompileError, LinkError, PlatformError

HEADERS = sorted(str(p) for p in Path("csrc").rglob("*") if p.suffix in (".hpp", ".inl"))

NO_COMPILER = """
fastlanczos compiles a C++17 extension, and that failed (the compiler's own message, if it has one, stands above).
Install a C++ compiler and run the same command again:
    Debian, Ubuntu:   apt-get install g++
    Fedora:           dnf install gcc-c++
    macOS:            xcode-select --install
    Windows:          the "Desktop development with C++" workload of the Visual Studio Build Tools
    conda:            conda install -c conda-forge cxx-compiler
"""


class BuildCore(build_ext):
    """Compile with the flags that the compiler understands, and say what to install where there is none.

    FASTLANCZOS_WERROR=1 makes warnings errors; FASTLANCZOS_SANITIZE=address,undefined (or thread) builds for `make
    sanitize`.
    """

    def build_extensions(self):
        for extension in self.extensions:
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


setup(
    ext_modules=[
        Pybind11Extension(
            "fastlanczos._core",
            ["csrc/bindings/core.cpp"],
            include_dirs=["csrc/include"],
            depends=HEADERS,
            cxx_std=17,
        )
    ],
    cmdclass={"build_ext": BuildCore},
)
