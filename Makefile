# Every target works from a fresh clone: the environment is made first, in .venv.
.DEFAULT_GOAL := help
.PHONY: help setup demo console dev test exhaustive images postgres matrix faults bench check audit format docs screens lock clean

VENV := .venv
BIN := $(VENV)/bin
# Test processes; most of a test is waiting for a server, and each process has servers of its own.
PROCESSES ?= 5
# The programs of the PostgreSQL that `make postgres` tests.
POSTGRES ?= /usr/lib/postgresql/15/bin
# The first Python from 3.11 on; `make PYTHON=/path/to/python …` overrides.
PYTHON ?= $(shell for p in python3 python3.15 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' 2>/dev/null && echo $$p && break; done)

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## Make the environment in .venv from the hashed lock

demo: setup ## Sign people up and watch their mails arrive, on private servers
	@$(BIN)/python -m shop.demo

console: setup ## The web console, on the servers that WORKSHED_* names
	@$(BIN)/workshed console

dev: setup ## Private PostgreSQL, RabbitMQ and mail server until Ctrl-C
	@$(BIN)/workshed dev

test: setup ## The tests, on real RabbitMQ and PostgreSQL; of exhaustive proofs a sample
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@$(BIN)/python -m tests -n $(PROCESSES) --dist worksteal --durations 10

exhaustive: setup ## Every test, also what `make test` samples
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@$(BIN)/python -m tests -n $(PROCESSES) --dist worksteal --durations 10 --exhaustive

images: setup ## Build the image of deploy/ and run it, and the units of systemd, as root
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@sh .ci/image
	@$(BIN)/pytest -m image tests/service/e2e/deploy --exhaustive

postgres: setup ## The integration tests on another PostgreSQL, the oldest that we support
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@$(BIN)/pytest -n $(PROCESSES) --dist worksteal tests/library/integration \
		tests/service/integration --postgres '$(POSTGRES)' --exhaustive

faults: setup ## The tests that kill things, at full scale, and each again without its remedy
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@$(BIN)/pytest tests/library/e2e tests/service/e2e tests/library/integration/jobs \
		$(addprefix tests/service/integration/,campaigns images imports notifications reports sync) \
		tests/service/unit/pixels \
		tests/faults/test_campaigns.py::test_mails_to_one_pass_all_mails_of_a_campaign --full --exhaustive
	@sh .ci/corpus
	@$(BIN)/pytest -m corpus tests/service/unit/pixels --exhaustive
	@$(BIN)/python -m tests.faults --scale full --write docs/faults.md
	@$(BIN)/python -m tests.faults.numbers

bench: setup ## Measure it beside its peers; a table, and bench-results/
	@$(BIN)/workshed dev --install-only
	@$(BIN)/python -m bench

matrix: setup ## All tests on each supported Python, RabbitMQ and PostgreSQL, as root
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@$(BIN)/python -m tests.matrix

check: setup ## Lint, types, import layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

audit: setup ## Ask a service for known vulnerabilities of what the lock names
	@sh .ci/audit $(VENV)

format: setup ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: setup ## Write the parts of the documents that come from the code
	@$(BIN)/python -m tools.reference
	@$(BIN)/python -m bench.capacity --write

screens: setup ## Take the pictures of the console for the README
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@$(BIN)/python -m tests.service.e2e.screens docs

lock: setup ## Resolve pyproject.toml anew into requirements.lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --all-extras --group dev pyproject.toml --output-file requirements.lock

clean: ## Remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

$(VENV)/.ready: requirements.lock pyproject.toml
	@sh .ci/environment '$(PYTHON)' $(VENV)
	@touch $@
