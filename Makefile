# make run            a working gateway on this machine: storage, a simulated Azure OpenAI and a demo tenant
# make test           the whole test suite with the coverage gate; PYTEST_ARGUMENTS restricts it
# make unit           the unit tests: no storage, no coverage, seconds
# make unit-313       the same on Python 3.13, which is what is deployed
# make prove          the proofs: simulation, mutants, machines, fuzz
# make adversary      the attacks: hostile callers, lying upstreams, forgetful operators, forged books
# make check          format, lint, types, import contracts
# make format         format and fix what can be fixed
# make infra          the Bicep templates: built and linted where the Bicep CLI is there, and checked offline
# make package        dist/gateway.zip, which is deployed: the same bytes from the same sources, with its SHA-256
# make sbom           dist/gateway.cdx.json: the parts of the package as CycloneDX
# make verify         the books of the running gateway against every invariant; PERIOD=YYYY-MM
# make simulate       the ledger under seeded faults and crashes; COUNT=10000 schedules from FIRST=0
# make soak           real processes under faults and kills for SECONDS=600
# make bench          what the gateway costs, as ratios to a bare proxy in the same run
# make bench OLD=REF  the paired bench: this checkout against another one, on BENCH_PYTHON=3.13
# make lock           new lock files with the newest releases; UPGRADE= keeps the pins there are
# make hooks          install the pre-commit hooks of this checkout
# make setup          what `make run` starts with, without starting it
# make clean          remove what setup installed
# Each target sets up what it needs and nothing else. PYTHON=python3.12 chooses the Python of the environment.

PYTHON ?= python3
BIN := .venv/bin
SETUP := @$(PYTHON) -m local.setup
UNIT := -m pytest -n $${PYTEST_WORKERS:-auto} tests/unit
UNIT_313 := .venv-conformance/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup run test unit unit-313 prove adversary check format bench infra simulate soak verify package sbom lock hooks clean

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))

setup:
	$(SETUP) run

run:
	$(SETUP) run
	@exec $(BIN)/python -m local.run

test:
	$(SETUP) development
	@$(BIN)/python -m local.run_tests $(PYTEST_ARGUMENTS)

unit:
	$(SETUP) development
	@$(BIN)/python $(UNIT) $(PYTEST_ARGUMENTS)

unit-313:
	$(SETUP) conformance
	@test -x $(UNIT_313) || { echo "Python 3.13 is needed; name it with CONFORMANCE_PYTHON."; exit 2; }
	@$(UNIT_313) $(UNIT) $(PYTEST_ARGUMENTS)

prove:
	$(SETUP) development
	@$(BIN)/python -m pytest -n $${PYTEST_WORKERS:-auto} --durations=5 tests/proof $(PYTEST_ARGUMENTS)

adversary:
	$(SETUP) development azurite conformance
	@$(BIN)/python -m pytest -n $${PYTEST_WORKERS:-auto} --durations=5 tests/adversary $(PYTEST_ARGUMENTS)

check:
	$(SETUP) development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zizmor --offline --quiet .github

format:
	$(SETUP) development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench:
	$(SETUP) development azurite
ifdef OLD
	@$(BIN)/python -m bench.compare --old $(OLD) --python $(or $(BENCH_PYTHON),3.13) $(BENCH_ARGUMENTS)
else
	@$(BIN)/python -m bench
	@$(BIN)/python -m bench.ledger
	@$(BIN)/python -m bench.memory
	@$(BIN)/python -m bench.routing
	@$(BIN)/python -m bench.identity
	@$(BIN)/python -m bench.fairness
	@$(BIN)/python -m bench.telemetry
endif

infra:
	$(SETUP) development kusto
	@$(BIN)/python -m local.check_infra

verify:
	$(SETUP) run
	@$(BIN)/python -m local.verify $(if $(PERIOD),--period $(PERIOD))

package:
	@$(PYTHON) -m local.package

sbom:
	$(SETUP) development
	@mkdir -p dist
	@$(BIN)/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --output-reproducible \
	  --spec-version 1.6 --output-format JSON --output-file dist/gateway.cdx.json
	@echo dist/gateway.cdx.json

simulate:
	$(SETUP) development
	@$(BIN)/python -m tests.proof.simulation --first $(or $(FIRST),0) --count $(or $(COUNT),10000)

soak:
	$(SETUP) development azurite
	@$(BIN)/python -m tests.proof.soak --seconds $(or $(SECONDS),600)

hooks:
	$(SETUP) development
	$(BIN)/pre-commit install

UPGRADE ?= --upgrade
COMPILE := .tools/uv/bin/uv pip compile --quiet $(UPGRADE) --generate-hashes --no-header --no-annotate
COMPILE_311 := $(COMPILE) --universal --python-version 3.11
lock:
	$(SETUP) development
	$(COMPILE_311) requirements-uv.in -o requirements-uv.txt
	$(COMPILE_311) requirements.in -o requirements.txt
	$(COMPILE_311) requirements-local.in -o requirements-local.txt
	$(COMPILE_311) requirements.in requirements-dev.in -o requirements-dev.txt
	$(COMPILE_311) requirements-node.in -o requirements-node.txt
	$(COMPILE_311) requirements-clients.in -o requirements-clients.txt
	$(COMPILE) --python-version 3.13 requirements.in requirements-conformance.in -o requirements-conformance.txt

clean:
	rm -rf .venv .venv-* .tools
