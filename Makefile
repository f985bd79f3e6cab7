# Two commands do everything: `make demo` and `make test`. Nothing outside .venv is written.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
export MYPY_CACHE_DIR := $(CURDIR)/$(VENV)/mypy
export RUFF_CACHE_DIR := $(CURDIR)/$(VENV)/ruff
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo demo-workers test check bench reference constraints clean

$(VENV)/ready: .ci/constraints.txt pyproject.toml
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --no-cache-dir --require-hashes -r .ci/constraints.txt
	@$(BIN)/python -m pip install -qq --no-cache-dir --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/ready ## the main job against the embedded simulator
	@$(BIN)/alma-async demo

demo-workers: $(VENV)/ready ## three workers over a store: a killed one, a load that goes on, a job that a webhook follows up
	@$(BIN)/python -m examples.demo_workers

test: check ## style, types, floors and the whole test suite
	@$(BIN)/python -m pytest -n 3 --dist worksteal

check: $(VENV)/ready
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary

bench: $(VENV)/ready ## all tables and pictures of benchmarks/, beside the peers; about half an hour, needs a quiet machine
	@$(BIN)/python -m benchmarks all

reference: $(VENV)/ready ## docs/reference from the docstrings
	@$(BIN)/python docs/generate_reference.py

COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 \
    --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --upgrade \
    --exclude-newer "$$($(BIN)/python -c 'import datetime as d; print((d.datetime.now(d.UTC) - d.timedelta(days=7)).date())')"

constraints: $(VENV)/ready ## refresh the pins of development and audits: nothing younger than seven days
	@$(BIN)/python -m pip install -qq --no-cache-dir uv
	@$(COMPILE) pyproject.toml --all-extras --group dev --output-file .ci/constraints.txt
	@$(COMPILE) --group audit --output-file .ci/audit.txt

clean:
	@rm -rf $(VENV)
