# `make help` lists what there is; `make check` is exactly what CI runs before the tests.

PYTHON ?= python3
EXTRAS ?= dev
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check format bench faults overload clean

help: ## show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## make ./.venv with everything, from the pinned versions

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.$(if $(EXTRAS),[$(EXTRAS)])'
	@touch $@

demo: install ## analyze 336,776 flights and mail the report: the main job, on this machine
	@$(BIN)/stepwell demo

check: install ## lint, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## everything: lint, types, layers and the whole suite
	$(BIN)/python -m pytest

bench: install ## how fast a step is, beside a bare Celery hop and a bare Postgres commit
	@$(BIN)/python -m tests.bench

faults: install ## break everything on purpose and check the laws (MINUTES=n SEED=s: a random storm)
	@$(BIN)/python -m tests.faults $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS))

overload: install ## more work than fits, an outage and a slow provider: ours beside plainer ways
	@$(BIN)/python -m tests.overload

format: install ## put the code in its usual shape
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

clean: ## remove what this Makefile made
	rm -rf $(VENV) .stepwell .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
