"""The compiled extension; everything else about the package is in pyproject.toml."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup
from setuptools.errors import CompileError, LinkError, PlatformError

HEADERS = sorted(str(p) for p in Path("csrc/include").rglob("*") if p.is_file())

NO_COMPILER = """
fastlanczos compiles a C++17 extension, and that failed (the compiler's own message, if it has one, stands above).
Install a C++ compiler and run the same command again:
    Debian, Ubuntu:   apt-get install g++
    Fedora:           dnf install gcc-c++
    macOS:            xcode-select --install      (and `brew install libomp` for threads)
    Windows:          the "Desktop development with C++" workload of the Visual Studio Build Tools
    conda:            conda install -c conda-forge cxx-compiler
"""

OPENMP_FLAGS = {
    "win32": [(["/openmp"], [])],
    "darwin": [(["-Xpreprocessor", "-fopenmp"], ["-lomp"]), (["-fopenmp"], ["-fopenmp"])],
}.get(sys.platform, [(["-fopenmp"], ["-fopenmp"])])


class BuildCore(build_ext):
    """Compile with OpenMP where the compiler has it, and name what to install where there is none."""

    def build_extensions(self):
        warnings = os.environ.get("FASTLANCZOS_WERROR") == "1"
        for extension in self.extensions:
            if self.compiler.compiler_type == "msvc":
                extension.extra_compile_args += ["/O2"]
            else:
                # -ffp-contract=fast: fused multiply-adds where the chosen instruction set has them.
                extension.extra_compile_args += ["-O3", "-fno-math-errno", "-ffp-contract=fast", "-Wall", "-Wextra"]
                extension.extra_compile_args += ["-Werror"] if warnings else []
            compile_flags, link_flags = self.openmp_flags()
            extension.extra_compile_args += compile_flags
            extension.extra_link_args += link_flags
        try:
            super().build_extensions()
        except (CompileError, LinkError, PlatformError) as error:
            raise SystemExit(f"{error}\n{NO_COMPILER}") from error

    def openmp_flags(self):
        """The flags of the first OpenMP variant that compiles and links, or none."""
        program = "#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n"
        for compile_flags, link_flags in OPENMP_FLAGS:
            with tempfile.TemporaryDirectory() as folder:
                source = Path(folder) / "openmp.cpp"
                source.write_text(program)
                try:
                    objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=compile_flags)
                    self.compiler.link_executable(
                        objects, "openmp", output_dir=folder, extra_postargs=link_flags, target_lang="c++"
                    )
                except (CompileError, LinkError, PlatformError, subprocess.CalledProcessError, OSError):
                    continue
                return compile_flags, link_flags
        print("fastlanczos: no OpenMP found; the extension will run on one thread", file=sys.stderr)
        return [], []


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
