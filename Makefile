# Every target does its own set-up (scripts/setup.py): quick when nothing changed.
#   PYTHON=python3.12 make …   another Python          NO_APT=1 make …   never install Debian packages
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test hil bench dist packages lint fmt man wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: ## the whole story on this machine; ARGS="--once --json" runs it unattended
	@$(PYTHON) scripts/setup.py demo
	@PYTHONUNBUFFERED=1 $(BIN)/edge-agent demo $(ARGS)

test: ## all tests, the story with a real Docker engine among them; ARGS go to pytest
	@$(PYTHON) scripts/setup.py test
	@PATH="$(CURDIR)/$(BIN):$$PATH:/usr/sbin:/sbin" scripts/with-engine.sh scripts/run-tests.sh $(BIN)/python $(ARGS)

hil: ## whole devices: stand-ins made here, or real devices with ARGS="--inventory FILE"; a report in build/hil
	@$(PYTHON) scripts/setup.py hil
	@PATH="$(CURDIR)/$(BIN):$$PATH:/usr/sbin:/sbin" scripts/with-engine.sh $(BIN)/python -m pytest hil $(ARGS)

bench: ## the figures, against their goals
	@$(PYTHON) scripts/setup.py bench
	@PATH="$$PATH:/usr/sbin:/sbin" scripts/with-engine.sh $(BIN)/python -m bench $(ARGS)

dist: ## a frozen tree in build/dist/; ARCH=x86_64|armv7|aarch64, VARIANT=camera|detector, PROGRAM=edge-sink
	@$(PYTHON) scripts/setup.py dist
	@$(PYTHON) packaging/freeze.py $(or $(ARCH),$(shell uname -m)) $(if $(VARIANT),--variant $(VARIANT)) $(if $(PROGRAM),--program $(PROGRAM))

packages: ## the packages of a release, from the trees of make dist; KEY=FILE signs them, CHANNEL=beta
	@$(PYTHON) scripts/setup.py lint
	@$(BIN)/python packaging/make_packages.py --channel $(or $(CHANNEL),stable) $(if $(KEY),--key $(KEY)) $(ARGS)

lint: ## ruff, mypy and the layers of the packages
	@$(PYTHON) scripts/setup.py lint
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache

fmt: ## format the code
	@$(PYTHON) scripts/setup.py lint
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format .

man: ## the man pages edge-agent(1) and edge-sink(1), in build/man
	@$(PYTHON) scripts/setup.py lint
	@$(BIN)/python scripts/man_pages.py build/man

wheel: ## the Python package with its WASM programs, examples and man pages, in build/wheel
	@$(PYTHON) scripts/setup.py lint
	@$(BIN)/python scripts/build_filters.py
	@$(BIN)/python packaging/make_wheel.py

clean: ## remove what was built here; caches stay in ~/.cache/edge-agent
	rm -rf .venv build dist bench/out .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find agent demo cloud_sink detector tests hil bench scripts -name __pycache__ -type d -prune -exec rm -rf {} +
