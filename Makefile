# Needs make, and Python 3.11 or newer with venv; the rest is installed into .venv.
#
#     make demo                     the first thing to try
#     make test ARGS="-k journal"   arguments for pytest
#     make PYTHON=python3.13 test   another Python than the one that is found

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test flakes check format bench storm mutants soak orchestrators clean

# Without compiled files every start of Python compiles all that it imports; tests start many.
unexport PYTHONDONTWRITEBYTECODE

RECENT := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$each -c '$(RECENT)' 2>/dev/null && echo $$each && break; done)
BIN := .venv/bin
# Tests wait for processes more than they work.
WORKERS ?= 4
# In the order of their names, and not of how many tests they have: files of few long tests came last.
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder
N ?= 10
ORCHESTRATORS := airflow dagster prefect
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable
# What pip does for every other install. Where Python may not write (PYTHONDONTWRITEBYTECODE), each
# start would compile the program anew: a fifth of a short run, and of each test with a process.
COMPILE := $(BIN)/python -m compileall -q backfill

help: ## print this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-21s%s\n", $$1, $$2}'

demo: .venv/.installed ## run the sample pipeline into a sandbox on this machine
	@$(BIN)/backfill demo $(ARGS)

test: .venv/.installed-test ## run every test
	@$(COMPILE)
	@$(PYTEST) -n $(WORKERS) $(ARGS)

flakes: .venv/.installed-test ## run every test again and again, until one fails (N=10)
	@for each in $$(seq $(N)); do \
		jobs=$$(mktemp -d) && echo "$$each of $(N)" && \
		$(PYTEST) -q -n 4 --basetemp="$$jobs/jobs" $(ARGS) && \
		rm -rf "$$jobs" || exit 1; done

check: .venv/.installed-tools ## look at style, types, imports, sizes and the README
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python tests/tools/sizes.py
	@$(BIN)/python tests/tools/row_path.py
	@if grep -q '\[\[\[cog' README.md; then $(BIN)/cog --check README.md; fi

format: .venv/.installed-tools ## write the code in the one style
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

bench: .venv/.installed-test ## measure speed and memory; takes minutes
	@$(COMPILE)
	@for each in tests/benchmarks/bench_*.py; do $(BIN)/python "$$each" $(ARGS) || exit; done

storm: .venv/.installed-test ## kill it a thousand times, pods and workers too, cut the power, and print what was lost; takes an hour
	@$(BIN)/python tests/tools/storm.py

mutants: .venv/.installed-tools ## plant known mistakes and see whether the tests find them (ARGS=--sampled: a program's)
	@$(BIN)/python tests/tools/mutants.py $(ARGS)

soak: .venv/.installed-test ## run again and again in one process and see whether anything grows (MINUTES=30)
	@$(BIN)/python tests/tools/soak.py

orchestrators: .venv/.installed-test ## let Airflow, Dagster, Prefect and Kubernetes meet each exit code; ten minutes
orchestrators: $(ORCHESTRATORS:%=.orchestrators/%/.installed)
	@$(BIN)/python -m pytest -n 2 --dist loadscope tests/orchestrators/real_runs.py $(ARGS)

clean: ## remove what make made; the state of jobs stays
	@rm -rf .venv .orchestrators build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each needs the one before it.

.venv/.installed: .venv/.made pyproject.toml
	@echo "installing into .venv (a minute, the first time)"
	@$(PIP) .
	@$(COMPILE)
	@touch $@

.venv/.installed-test: .venv/.installed
	@echo "installing what the tests need"
	@$(PIP) '.[test]'
	@touch $@

.venv/.installed-tools: .venv/.installed-test
	@echo "installing ruff, mypy and import-linter"
	@$(PIP) '.[test,tools]'
	@touch $@

# An environment each: they do not agree about packages, and the program shares none with them.
.orchestrators/%/.installed: tests/orchestrators/%.txt
	@echo "installing $*"
	@'$(PYTHON)' -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

.venv/.made:
	@'$(PYTHON)' -c '$(RECENT)' 2>/dev/null || { echo "backfill needs Python 3.11 or newer: install" \
		"it, or name it with make PYTHON=/path/to/python" >&2; exit 2; }
	@'$(PYTHON)' -m venv --clear .venv || { echo "python cannot make a virtual environment: install its" \
		"venv module (Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 2; }
	@touch $@
