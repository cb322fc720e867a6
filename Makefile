# Everything a person types. On a fresh machine only Python 3.11 or newer and make are needed; the rest is set up here.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := PYTHONUTF8=1 $(BIN)/python
FAST := tests/contract tests/core tests/journal tests/properties tests/rules tests/scenarios tests/simulation

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench clean

help: ## Show this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(VENV)/ready ## Build the environment in .venv/

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ops-stream needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Building the environment in $(VENV)/ (about a minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[supervisor,test]'
	@touch $@

demo: setup ## A real agent's recorded day and a workflow of five roles, on a real broker
	@$(BIN)/ops-stream demo

check: setup ## Format, lint, strict types, import rules, drift and core tests (under a minute)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/ops-stream contract export --check
	$(RUN) -m pytest -n 2 --dist worksteal $(FAST)

test: export OPS_STREAM_TEST_THOROUGH := 1
test: check ## Everything, on a real Kafka and a real Redis that the run starts itself
	$(RUN) -m pytest tests $(addprefix --ignore=,$(FAST)) --durations=15

bench: setup ## Measure, beside baselines in the same run; writes docs/benchmarks/
	$(RUN) -m tests.bench

format: setup ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environment and caches of this folder
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .import_linter_cache
