# Needs make, Python 3.11 or newer and a package index; everything else is installed into .venv.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A uv that works, if there is one (a pyenv shim without a version behind it does not), else one of our own, apart from
# the environment it fills: `uv pip sync` removes whatever the lock does not name, itself included.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo $(VENV)/tools/bin/uv)
# The certificates of this machine, which behind a company's proxy are not those that uv brings along.
export UV_SYSTEM_CERTS ?= 1
# How many processes share the tests of `check`, which keep the processors busy; and how many share those with servers, by
# modules, each with servers of its own. A third of the time they wait for a session to end or a group to be joined.
WORKERS ?= 2
SERVED_WORKERS ?= 3
TIERS := unit properties architecture integration security scenarios faults replay
CHECKED := agents_sdk services tests examples docs
PYTEST := $(BIN)/python -m pytest

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+(%)?:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'
	@echo "  tiers: $(TIERS)"

.PHONY: install
install: $(STAMP) ## Make .venv as requirements.lock says; nothing to do while that is unchanged

$(STAMP): requirements.lock pyproject.toml
	@if ! [ -x $(BIN)/python ]; then \
	  if [ "$(UV)" = uv ]; then uv venv --quiet --python '>=3.11,<3.14' $(VENV); else $(PYTHON) -m venv --without-pip $(VENV); fi; fi
	@if [ "$(UV)" != uv ] && ! [ -x $(UV) ]; then \
	  $(PYTHON) -m venv $(VENV)/tools && $(VENV)/tools/bin/python -m pip install --quiet --disable-pip-version-check uv; fi
	@# Compiled now: where bytecode is not written, every command would compile its imports anew (0.3 s a start).
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip sync --quiet --require-hashes --compile-bytecode requirements.lock
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --no-deps -e .
	@touch $@

.PHONY: frameworks
frameworks: $(STAMP) ## Handlers of pydantic-ai, LangGraph and OpenAI Agents under cut-offs: RUNS=15 SEED=1
	$(UV) pip install --quiet --python $(BIN)/python --target $(VENV)/frameworks --group frameworks
	PYTHONPATH=$(VENV)/frameworks $(BIN)/python -m pytest -q -s -p no:xdist tests/unit/agents_sdk/test_frameworks.py

.PHONY: lock
lock: ## Resolve the dependencies anew: requirements.lock and the jars
	$(UV) pip compile --quiet pyproject.toml --all-extras --group dev --universal --generate-hashes --upgrade \
	  --no-emit-index-url --output-file requirements.lock
	$(MAKE) install
	$(BIN)/python -m backplane.platform.artifacts --write-lock

.PHONY: wheel
wheel: $(STAMP) ## Build the wheel into dist/
	$(UV) build --quiet --wheel --out-dir dist

.PHONY: check
check: $(STAMP) ## What needs no broker: format, lint, types, unit tests, laws, architecture (under a minute)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/ruff check $(CHECKED)
	@# Types beside the tests: both go on to their ends, and either fails the target.
	$(BIN)/mypy & types=$$!; \
	$(PYTEST) -q -n $(WORKERS) --dist worksteal $(wildcard tests/unit tests/properties tests/architecture) \
	  && failed=0 || failed=1; \
	wait $$types && exit $$failed

.PHONY: browser
browser: ## Install Chromium, which the console is tested in, where there is none and apt-get can
	@command -v chromium >/dev/null || ! command -v apt-get >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; }

.PHONY: test
test: check ## Everything: check, then every tier that needs the platform
	@# Compiled once: where bytecode is not written, each of some five hundred processes would do so for itself.
	$(BIN)/python -m compileall -q $(CHECKED)
	@# Start-up archives of the two JVMs, where they are missing: a platform makes them beside its work, and slows it.
	$(BIN)/python -m backplane.platform.training
	$(PYTEST) -q -n $(SERVED_WORKERS) --dist loadfile --no-loadscope-reorder \
	  tests --ignore tests/unit --ignore tests/properties --ignore tests/architecture --ignore tests/benchmarks

test-%: $(STAMP) ## One tier, e.g. `make test-unit`; SEED=… for faults
	$(PYTEST) tests/$*

.PHONY: docs
docs: $(STAMP) ## Build the documentation into var/site; a broken link or snippet fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: prose
prose: $(STAMP) ## List what breaks the prose rules, and write fewer exceptions down; more are refused
	$(BIN)/python -m tests.support.prose --write

.PHONY: format
format: $(STAMP) ## Format the code and mend what ruff can
	$(BIN)/ruff format $(CHECKED)
	$(BIN)/ruff check --fix $(CHECKED)

.PHONY: up
up: $(STAMP) ## Start the local platform in the background
	$(BIN)/backplane up --detach

.PHONY: down
down: $(STAMP) ## Stop it
	$(BIN)/backplane down

.PHONY: demo
demo: $(STAMP) ## The whole story on this machine
	$(BIN)/backplane demo

.PHONY: pictures
pictures: $(STAMP) ## Each page of the console, light, dark and narrow, as a picture in var/screenshots
	PICTURES=1 $(PYTEST) -q tests/scenarios/test_console.py tests/scenarios/test_console_buttons.py

.PHONY: bench
bench: $(STAMP) ## Throughput and latency, as ratios to raw Kafka; BENCH="--quick --only ledger"
	$(BIN)/python -m tests.benchmarks $(BENCH)

.PHONY: laws
laws: $(STAMP) ## Property tests with other examples than those of `make check`, ROUNDS=10 times; prints each counterexample
	for round in $$(seq $${ROUNDS:-10}); do \
	  LAWS=random $(PYTEST) -q -n $(WORKERS) --dist worksteal tests/unit tests/properties || exit 1; done

.PHONY: coverage
coverage: $(STAMP) ## Branches of the core that no test without a server takes
	$(PYTEST) -q -n $(WORKERS) tests/unit tests/properties tests/replay tests/security/test_references.py \
	  tests/security/test_reference_monitor.py tests/security/test_words_of_others.py --cov agents_sdk/core --cov-branch --cov-report term-missing:skip-covered

.PHONY: chaos
chaos: $(STAMP) ## Freezes, delays, guests, slow disks, wrong clocks and kills, by seeds: SEEDS=1-100, FAULTS=24
	FAULT_PAUSE=0.15 SEEDS=$${SEEDS:-1-100} $(PYTEST) -q -s tests/faults/test_weather.py

.PHONY: kills
kills: $(STAMP) ## Kills among more work than `make test` gives them; SEED=…
	FAULT_DELIVERIES=2000 FAULT_READS=10000 FAULT_FACTS=1000000 FAULT_KILLS=15 FAULT_PAUSE=0.15 \
	  FAULT_REQUESTS=600 FAULT_ROUNDS=9 UNSAFE_CALLS=1000 $(PYTEST) -q -s tests/faults \
	  --ignore tests/faults/test_weather.py --ignore tests/faults/test_soak.py --ignore tests/faults/test_fuzz.py

.PHONY: soak
soak: $(STAMP) ## Mixed load under faults for MINUTES=60; says how the memory of each part grows
	MINUTES=$${MINUTES:-60} $(PYTEST) -q -s tests/faults/test_soak.py

.PHONY: fuzz
fuzz: $(STAMP) ## Hostile inputs for every topic and port; FUZZ="--inputs 1000000 --seed 7"
	$(BIN)/python -m tests.fuzz $(FUZZ)

.PHONY: clean
clean: ## Remove the environment and all caches of this checkout; the platform's data stays
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(CHECKED) -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
