# Everything that a person or a CI runs. `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

.PHONY: help setup demo up down status test test-long bench lint format schemas mutants clean

help: ## List every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv and .cache: Python packages, PostgreSQL, Java, Kafka (once, about 20 s; then nothing)
	@$(PYTHON) deploy/local/set_up.py

demo: setup ## Start everything, stream a synthetic MSP, show each alert (ONCE=1: end by itself, exit 0 only if all was right)
	@$(BIN)/plumbline demo $(if $(ONCE),--once)

up: setup ## Start PostgreSQL, Kafka and the services; Ctrl-C stops them
	@$(BIN)/plumbline up

down: setup ## Stop what `make up` started
	@$(BIN)/plumbline down

status: setup ## Show what runs, where, and whether it is ready
	@$(BIN)/plumbline status

test: setup ## Prove the invariants on a real PostgreSQL and a real Kafka (ARGS="-k name" selects)
	@$(BIN)/python -m pytest -m "not long" $(ARGS)

test-long: setup ## The longer proofs
	@$(BIN)/python -m pytest -m long $(ARGS)

mutants: setup ## Change the money engine in small ways and count what no test notices (ARGS="prices --again")
	@$(BIN)/python -m tests.mutation.run $(ARGS)

bench: setup ## Reconcile a million lines from files, beside the floor of reading and sorting them (var/bench/latest.json)
	@$(BIN)/python -m tests.bench.reconcile

lint: setup ## Format, style, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy shared $(wildcard services/*/domain)
	$(BIN)/lint-imports --no-logo

format: setup ## Format the code and sort the imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: setup ## Write docs/events from the record types, docs/formats.md from the profiles, docs/schemas
	@$(BIN)/python -m shared.events.export
	@$(BIN)/python -m services.ingestion.domain.manual > docs/formats.md.new && mv docs/formats.md.new docs/formats.md
	@$(BIN)/plumbline rate --schema > docs/schemas/rate.json.new && mv docs/schemas/rate.json.new docs/schemas/rate.json

clean: ## Remove what set-up and the tools made; var/ (your data) stays
	rm -rf .venv .venv-mutants .mutants .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
