# `make` alone lists the targets. Every target that needs packages sets them up first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
CODE := streamgauge.py core schemas infra producers processors sinks simulator bench tests
QUICK := -m "not slow and not integration" --ignore=tests/integration
# Most tests wait for something: two processes, each with servers of its own, halve that. What is
# marked `alone` would measure the others.
SIDE_BY_SIDE := -n 2 --dist worksteal

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: ## Make .venv from the locked packages (PYTHON=... names a Python 3.11 to 3.13)
	@PYTHON="$(PYTHON)" infra/setup.sh

.PHONY: run
run: setup ## Run the whole pipeline on this machine; SECONDS=60 ends it by itself
	@# On a terminal in a job of its own: Ctrl-C reaches the pipeline alone, which ends in order, and
	@# make sees how it ended. Elsewhere in make's place: what ends make, or its group, ends it, too.
	@run=($(BIN)/streamgauge run --with-parent $(if $(SECONDS),--seconds $(SECONDS))); \
	[ -t 0 ] || exec "$${run[@]}"; set -m; "$${run[@]}" || exit

.PHONY: check
check: setup lint types imports quick bench-smoke ## Everything that must be green before a commit

.PHONY: lint
lint: setup ## Check style and form with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: setup ## Check types with mypy
	$(BIN)/mypy $(CODE)

.PHONY: imports
imports: setup ## Check that each layer imports only what is below it
	$(BIN)/lint-imports --no-logo

.PHONY: quick
quick: setup ## Run the tests that need no server
	$(BIN)/pytest -q $(SIDE_BY_SIDE) $(QUICK)

.PHONY: test
test: setup ## Run all tests, on real Kafka, Faust and ClickHouse
	@failed=0; $(BIN)/pytest -m alone || failed=1; \
	$(BIN)/pytest $(SIDE_BY_SIDE) -m "not alone" || failed=1; exit $$failed

.PHONY: fuzz
fuzz: setup ## Run the property tests on other examples each time (`make test`: on the same)
	$(BIN)/pytest -q $(SIDE_BY_SIDE) --ignore=tests/integration -m hypothesis --hypothesis-profile=other

.PHONY: test-containers
test-containers: setup ## Run the integration tests on a Docker engine, with our own images
	infra/docker/build.sh
	STREAMGAUGE_TEST_BACKEND=containers STREAMGAUGE_TEST_KAFKA_IMAGE=streamgauge-kafka \
	STREAMGAUGE_TEST_CLICKHOUSE_IMAGE=streamgauge-clickhouse \
		$(BIN)/pytest tests/integration tests/containers

.PHONY: bench
bench: setup ## Measure every stage; one JSON line for each benchmark
	$(BIN)/python -m bench

.PHONY: bench-smoke
bench-smoke: setup ## Run every benchmark once, small, to see that it works
	$(BIN)/python -m bench --smoke

.PHONY: format
format: setup ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: docs
docs: setup ## Write docs/settings.md from the settings' own text
	$(BIN)/python -m infra.runtime.settings.reference > docs/settings.md

.PHONY: lock
lock: ## Lock the newest packages that pyproject.toml allows, with their hashes
	@infra/lock.sh

.PHONY: clean
clean: ## Remove caches and the results of builds; var/ and .venv stay
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis htmlcov dist
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
