# make demo | test | lint | soak | clients | faults | sanitize | format | bench | clean.   Each makes .venv first if it is not there.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
COMPILED := $(wildcard csrc/bindings/* $(addprefix csrc/include/fastlanczos/,*.hpp kernels/* threads/* cuda/*))
SOURCES := setup.py pyproject.toml $(COMPILED)
CXX_SOURCES := $(COMPILED) $(wildcard tests/csrc/*.cpp tests/csrc/cuda_emulation/*.[ch]* examples/cpp/*.cpp)

.PHONY: demo test lint soak clients faults sanitize sanitize-address sanitize-thread format bench clean

demo: $(VENV)/ready
	$(BIN)/fastlanczos demo

# Two processes of one thread each: threads of several pools on the same cores wait for one another. A process takes
# whole files, which share what is costly to make; tests of threads ask for as many as they want.
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

test: $(VENV)/ready
	$(PYTEST) --doctest-modules tests fastlanczos

# What is never done with: more examples, more kills, sanitizers.
soak: $(VENV)/ready sanitize faults clients
	FASTLANCZOS_SOAK=1 $(PYTEST) -m soak

# Faults seeded into both engines, one at a time: the tests must notice each.
faults: $(VENV)/ready
	$(BIN)/python tests/faults/run.py

# Tests of scikit-learn and networkx, of pinned releases, with our eigsh and svds in the place of scipy's.
clients: $(VENV)/ready
	$(BIN)/python -m pip install --quiet scikit-learn==1.9.1 networkx==3.6.1 pandas
	mkdir -p build && cd build && PYTHONPATH=../tests/cases OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 ../$(BIN)/python -m pytest -c /dev/null -q -p scipy_replaced \
		-p no:cacheprovider -W ignore --pyargs sklearn.manifold.tests.test_spectral_embedding sklearn.cluster.tests.test_spectral \
		sklearn.manifold.tests.test_locally_linear sklearn.manifold.tests.test_isomap \
		sklearn.decomposition.tests.test_kernel_pca sklearn.decomposition.tests.test_truncated_svd \
		sklearn.decomposition.tests.test_pca sklearn.cluster.tests.test_bicluster networkx.linalg networkx.drawing.tests.test_layout

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_SOURCES)

# The engine built with a sanitizer, and its tests run with it. The Python interpreter itself is not instrumented: the
# sanitizer's library is loaded before it, and it says nothing of memory that Python leaves behind. NumPy's BLAS is not
# either, so that the thread sanitizer would take the barriers of its threads for races: it gets one.
ENGINE_TESTS := $(addprefix tests/,csrc/test_step.py engine/test_host_run.py gauss/test_quadrature.py krylov/test_iteration.py \
	krylov/test_drive.py operators/test_native.py system/test_threads.py)
sanitize: sanitize-address sanitize-thread

sanitize-address: OPTIONS := ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
sanitize-address: LIBRARY := libasan.so
sanitize-address: SANITIZERS := address,undefined
sanitize-thread: OPTIONS := OPENBLAS_NUM_THREADS=1 TSAN_OPTIONS=halt_on_error=1:exitcode=66:die_after_fork=0:allocator_may_return_null=1
sanitize-thread: LIBRARY := libtsan.so
sanitize-thread: SANITIZERS := thread
sanitize-address sanitize-thread: sanitize-%: $(VENV)/ready
	FASTLANCZOS_CUDA=0 FASTLANCZOS_SANITIZE=$(SANITIZERS) $(BIN)/python setup.py -q build --build-base build/$* --build-lib build/$*/lib
	export LD_PRELOAD="$$(g++ -print-file-name=$(LIBRARY)) $$(g++ -print-file-name=libstdc++.so)" PYTHONPATH=build/$*/lib PYTHONSAFEPATH=1 $(OPTIONS) && \
	$(BIN)/python -c "from fastlanczos import _core; assert _core.build()['sanitizer'] == '$*', _core.__file__" && \
	$(BIN)/pytest -p no:cacheprovider $(ENGINE_TESTS)

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

bench: $(VENV)/ready
	$(BIN)/python benchmarks/orthogonality.py
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/eigsh.py
	$(BIN)/python benchmarks/svds.py
	$(BIN)/python benchmarks/svds_accuracy.py
	$(BIN)/python benchmarks/products.py
	$(BIN)/python benchmarks/sums.py
	$(BIN)/python benchmarks/quench.py
	$(BIN)/python benchmarks/intervals.py
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/same_products.py
	$(BIN)/python benchmarks/hessian.py
	$(BIN)/python benchmarks/real_networks.py
	$(BIN)/python benchmarks/tracking.py
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/storage.py
	$(BIN)/python benchmarks/quadrature.py
	$(BIN)/python benchmarks/paper_validation.py

# torch==2.13.0: the release that development and CI agree on. Installed first, so that the extra finds it there.
$(VENV)/torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	touch $@

# An editable install: Python files are used where they lie, and a changed C++ file is compiled again.
$(VENV)/ready: $(VENV)/torch $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info fastlanczos/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
