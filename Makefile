PYTHON ?= python3
BIN := .venv/bin

# Processes that run tests beside each other; a file's tests stay in one.
TEST_WORKERS ?= logical
PYTEST := $(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-quick test-thorough triton swift lint docs wheel clean

# Everything, on this machine: environment, demo corpus, and recipes/demo.yaml from raw files to a trained model.
demo: .venv/installed
	$(BIN)/foundry demo

# Every test but the long proofs, property tests at their usual strength (docs/testing.md has what each of the three costs).
test: .venv/installed-dev
	$(PYTEST) -m 'not thorough'

# What takes no more than some seconds and starts no process, property tests at a few examples each.
test-quick: .venv/installed-dev
	$(PYTEST) -m 'not thorough and not slow and not launch' --hypothesis-profile quick

# Everything, property tests at full strength, and the Triton kernels by Triton's interpreter.
test-thorough: .venv/installed-dev triton
	$(PYTEST) --hypothesis-profile thorough

# Triton, for the tests of our kernels on a machine without a GPU; torch's builds for GPUs bring their own. It takes a gigabyte of disk.
triton: .venv/installed-triton

# OpenStack Swift, a real object store for the tests of storage, in an environment of its own. It wants liberasurecode (Debian:
# apt-get install liberasurecode-dev), a compiler, and 80 MB of disk.
swift: .venv-swift/installed

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, in build/docs/html: the pages of docs/ and the public docstrings. Any link that leads nowhere is an error.
docs: .venv/installed-docs
	$(BIN)/python docs/site/assemble.py build/docs/source
	$(BIN)/python -m sphinx --quiet --fail-on-warning --jobs auto --conf-dir docs/site build/docs/source build/docs/html
	@echo "build/docs/html/index.html"

# The wheel, in dist/, from a copy of what it is made of, so that no earlier build's files get into it.
wheel: .venv/installed-dev
	rm -rf build/wheel && mkdir -p build/wheel
	cp -r kernel storage pipeline tokenizer trainer model evaluation jobs recipes pyproject.toml setup.py MANIFEST.in README.md LICENSE build/wheel
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist build/wheel

clean:
	rm -rf .venv .venv-swift workdir build dist *.egg-info

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

.venv-swift/installed:
	$(PYTHON) -m venv .venv-swift
	.venv-swift/bin/python -m pip install --quiet --disable-pip-version-check swift==2.38.3
	@touch $@

.venv/installed-triton: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt triton
	@touch $@
