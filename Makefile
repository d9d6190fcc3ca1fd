PYTHON ?= python3
BIN := .venv/bin

# Processes that run tests beside each other; a file's tests stay in one.
TEST_WORKERS ?= logical
PYTEST := $(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-quick test-thorough lint clean

# Everything, on this machine: environment, demo corpus, and recipes/demo.yaml from raw files to a trained model.
demo: .venv/installed
	$(BIN)/foundry demo

# Every test but the long proofs, property tests at their usual strength (docs/testing.md has what each of the three costs).
test: .venv/installed-dev
	$(PYTEST) -m 'not thorough'

# What takes no more than some seconds and starts no process, property tests at a few examples each.
test-quick: .venv/installed-dev
	$(PYTEST) -m 'not thorough and not slow and not launch' --hypothesis-profile quick

# Everything, property tests at full strength.
test-thorough: .venv/installed-dev
	$(PYTEST) --hypothesis-profile thorough

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv workdir build *.egg-info

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
