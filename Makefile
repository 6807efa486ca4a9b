# Every target makes the virtual environment it needs on its first run (some minutes) and reuses it afterwards.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= -c constraints.txt
PIP_ARGS ?=
DEMO_ARGS ?=
TEST_ARGS ?=
TEST_JOBS ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet $(CONSTRAINTS) $(PIP_ARGS)
SOURCES := pyproject.toml constraints.txt $(wildcard startup/*)

.DEFAULT_GOAL := help
.PHONY: help demo test test-long lint

help: ## list the targets and the variables
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20
	@echo "  variables: PYTHON=$(PYTHON) VENV=$(VENV) PIP_ARGS= CONSTRAINTS=\"$(CONSTRAINTS)\" DEMO_ARGS= TEST_ARGS= TEST_JOBS=$(TEST_JOBS)"

demo: $(VENV)/installed ## train, test and export STCM on the demo set; pictures and figures go to ./demo
	$(BIN)/python -m anomalib_stc.demo --output demo $(DEMO_ARGS)

test: $(VENV)/installed ## all tests but the slow ones, TEST_JOBS at a time; fails under 90 % coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n $(TEST_JOBS) --dist loadfile --cov=anomalib_stc --cov-fail-under=90 $(TEST_ARGS)

test-long: $(VENV)/installed ## all tests, the slow ones included
	$(BIN)/python -m pytest $(TEST_ARGS)

lint: $(VENV)/installed-dev ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# torch and torchvision come first and in one call, so that pip cannot take two that do not fit together.
$(VENV)/installed: $(SOURCES)
	@echo "Installing into $(VENV): some minutes, and 6 GB on Linux, where PyPI's torch brings CUDA."
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch torchvision
	$(PIP) --editable ".[test]"
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) --editable ".[dev]"
	@touch $@
