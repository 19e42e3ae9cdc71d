# make run: a working gateway on this machine.   make test: the whole test suite.   Both set up what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
AZURITE := .tools/azurite/.installed
CONFORMANCE := .venv-conformance/.installed
PYTEST_WORKERS ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup run test check format lock bench simulate soak verify clean

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))
	@echo "make check: format, lint, types, import contracts.   make bench: what is measured, as ratios.   make lock: new lock files.   make simulate: the ledger under faults."

setup: $(STAMP) $(AZURITE)

$(STAMP): requirements-dev.txt local/setup_venv.py
	@$(PYTHON) local/setup_venv.py $(VENV) requirements-dev.txt

$(AZURITE): $(STAMP) local/azurite/package-lock.json local/setup_azurite.py
	@$(BIN)/python -m local.setup_azurite

run: setup
	@exec $(BIN)/python -m local.run

test: setup
	@$(BIN)/python -m local.setup_conformance
	@$(BIN)/python -m local.setup_clients
	@$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --durations=15 --cov --cov-report=term $(PYTEST_ARGUMENTS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	@$(BIN)/python -m bench
	@$(BIN)/python -m bench.ledger
	@$(BIN)/python -m bench.memory
	@$(BIN)/python -m bench.routing

verify: $(STAMP)
	@$(BIN)/python -m local.verify $(if $(PERIOD),--period $(PERIOD))

simulate: $(STAMP)
	@$(BIN)/python -m tests.tools.simulation --first $(or $(FIRST),0) --count $(or $(COUNT),10000)

soak: setup
	@$(BIN)/python -m tests.soak --seconds $(or $(SECONDS),600)

UV_COMPILE := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate
lock: $(STAMP)
	$(UV_COMPILE) --universal --python-version 3.11 requirements.in -o requirements.txt
	$(UV_COMPILE) --universal --python-version 3.11 requirements.in requirements-dev.in -o requirements-dev.txt
	$(UV_COMPILE) --universal --python-version 3.11 requirements-node.in -o requirements-node.txt
	$(UV_COMPILE) --universal --python-version 3.11 requirements-clients.in -o requirements-clients.txt
	$(UV_COMPILE) --python-version 3.13 requirements.in requirements-conformance.in -o requirements-conformance.txt

clean:
	rm -rf $(VENV) .venv-conformance .venv-clients .tools

bench-compare: setup
	@$(BIN)/python -m bench.compare --old $(OLD) --python $(or $(BENCH_PYTHON),3.13) $(BENCH_ARGUMENTS)
.PHONY: bench-compare
