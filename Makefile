# make demo | test | lint | format | bench | clean.   Each makes .venv first if it is not there.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOURCES := setup.py pyproject.toml $(wildcard csrc/bindings/*) $(wildcard csrc/include/fastlanczos/*)
CXX_SOURCES := $(wildcard csrc/bindings/*.cpp csrc/include/fastlanczos/* tests/cpp/*.cpp examples/cpp/*.cpp)

.PHONY: demo test lint format bench clean

demo: $(VENV)/ready
	$(BIN)/fastlanczos demo

test: $(VENV)/ready
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest --doctest-modules fastlanczos

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_SOURCES)

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

bench: $(VENV)/ready
	$(BIN)/python benchmarks/orthogonality.py
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/step.py
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
