# make run    set up everything, run the whole weekly loop on the embedded market, print where the report is
# make test   set up, lint, type check, run all tests
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
TORCH := torch==2.13.0

# one thread a process: torch and RLlib halve their speed when they share two cores
export OMP_NUM_THREADS := 1

.PHONY: help setup run test servers lint faults bench lock clean

help:
	@sed -n 's/^# make/  make/p' $(MAKEFILE_LIST)

setup: $(VENV)/.installed

# torch first and with pip, which finds a CPU build; the rest from the lock, with uv
$(VENV)/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "carryflow needs Python 3.11: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "carryflow needs Python 3.11, $(PYTHON) is another: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up $(VENV) (2.7 GB, once)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps -r requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

run: setup
	$(BIN)/carryflow run

test: lint servers
	$(BIN)/pytest --ignore=tests/bench

# make servers  install what the tests start beside themselves (Redis, promtool) from Debian's packages
servers:
	@if ! command -v redis-server >/dev/null || ! command -v promtool >/dev/null; then \
	  sudo=$$(test "$$(id -u)" = 0 || echo sudo -n); \
	  export DEBIAN_FRONTEND=noninteractive; \
	  { $$sudo apt-get -qq update && $$sudo apt-get -qq install -y --no-install-recommends redis-server prometheus; } >/dev/null \
	  || echo "redis-server and promtool could not be installed: the tests that need them will be skipped, or fail in CI"; \
	fi

# make lint   formatting, lint, types, the direction of the imports
lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict .
	$(BIN)/shellcheck .ci/run

# make faults the fault matrix, 1,000 random episodes, 200 engines killed, a day of faults; prints the counts
faults: setup
	CARRYFLOW_FAULTS=all $(BIN)/pytest -q tests/fault

# make bench  benchmarks, as ratios against a named baseline
bench: setup $(PEERS)/.installed
	$(BIN)/pytest tests/bench --benchmark-only

# what others run at the same work does not install beside our lock (fsspec, pandas), so it has an environment of its own
$(PEERS)/.installed: requirements.peers.lock | setup
	@echo "setting up $(PEERS) (2 GB, once)"
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	VIRTUAL_ENV=$(PEERS) $(BIN)/uv pip install --quiet --no-deps -r requirements.peers.lock
	@touch $@

# make lock   resolve pyproject.toml and requirements.peers.in anew (torch's CUDA packages are left out: CPU images and laptops do not need them)
lock: setup
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip compile --quiet pyproject.toml --extra dev --python-version 3.11 --no-annotate --no-header \
	  --no-emit-package torch --constraint requirements.lock | grep -vE '^(nvidia-|cuda-|triton)' > requirements.lock.new
	mv requirements.lock.new requirements.lock
	$(BIN)/uv pip compile --quiet requirements.peers.in --python-version 3.11 --no-annotate --no-header \
	  --constraint requirements.peers.lock --output-file requirements.peers.lock.new
	mv requirements.peers.lock.new requirements.peers.lock

# make clean  remove what runs and tests made; keep the environment
clean:
	rm -rf data runs registry markets feature_repo_state build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
	find . -name __pycache__ -not -path './$(VENV)/*' -not -path './$(PEERS)/*' -prune -exec rm -rf {} +
