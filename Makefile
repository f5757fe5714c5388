# Every target works in a fresh clone: it creates the environment in .venv first.
.DEFAULT_GOAL := help
.PHONY: help setup demo console dev test exhaustive images postgres matrix faults bench instructions check audit format docs reference screens lock release clean

VENV := .venv
BIN := $(VENV)/bin
# Test processes. Tests mostly wait for servers, and each process has servers of its own.
PROCESSES ?= 5
# The PostgreSQL programs that `make postgres` tests with.
POSTGRES ?= /usr/lib/postgresql/15/bin
# The first Python on PATH that is at least 3.11; override it with `make PYTHON=/path/to/python …`.
PYTHON ?= $(shell for p in python3 python3.15 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' 2>/dev/null && echo $$p && break; done)

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## Create the environment in .venv from the hashed lock

demo: setup ## See the sample service at work; BROKER=postgresql: without RabbitMQ
	@$(BIN)/python -m shop.demo $(if $(BROKER),--broker $(BROKER))

console: setup ## Run the web console, on the servers that WORKSHED_* names
	@$(BIN)/workshed console

dev: setup ## Run a private PostgreSQL, RabbitMQ and mail server until Ctrl-C
	@$(BIN)/workshed dev

test: setup ## Run the tests, on real RabbitMQ and PostgreSQL; exhaustive tests as a sample
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@$(BIN)/python -m tests --rerun -n $(PROCESSES) --dist worksteal --durations 10

exhaustive: setup ## Run every test, including everything that `make test` samples
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@$(BIN)/python -m tests --rerun -n $(PROCESSES) --dist worksteal --durations 10 --exhaustive

images: setup ## Build and run the image and the systemd units of deploy/, as root
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@sh .ci/image
	@$(BIN)/pytest -m image tests/service/e2e/deploy --exhaustive

postgres: setup ## Run the integration tests on the oldest supported PostgreSQL
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@$(BIN)/pytest -n $(PROCESSES) --dist worksteal tests/library/integration \
		tests/service/integration --postgres '$(POSTGRES)' --exhaustive

faults: setup ## Run the fault experiments at full scale, each also with its safeguard disabled
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

bench: setup ## Compare speed with the peers; prints a table, writes bench-results/
	@$(BIN)/workshed dev --install-only
	@[ "$$(id -u)" != 0 ] || sh .ci/debian ruby-sidekiq valkey-server
	@$(BIN)/python -m bench

instructions: setup ## Check that a job costs no more instructions than the committed figure
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@$(BIN)/python -m bench.instructions_limit

matrix: setup ## Run tests on each supported Python, RabbitMQ and PostgreSQL, as root
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@$(BIN)/python -m tests.matrix

check: setup ## Check lint, format, types, import layers and the public names
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.public_api --check

audit: setup ## Check the locked packages for known vulnerabilities
	@sh .ci/audit $(VENV)

format: setup ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: setup ## Build the documentation site in site/
	@$(BIN)/python -m tools.website

reference: setup ## Regenerate the parts of the documentation that come from the code
	@$(BIN)/python -m tools.reference
	@$(BIN)/python -m bench.capacity --write
	@$(BIN)/python -m tools.public_api
	@$(BIN)/python -m tools.example_lines

screens: setup ## Take the screenshots of the console for the README
	@$(BIN)/workshed dev --install-only
	@sh .ci/debian
	@$(BIN)/python -m tests.service.e2e.screens docs

lock: setup ## Resolve pyproject.toml again into requirements.lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --all-extras --group dev pyproject.toml --output-file requirements.lock

release: setup ## Build, check and try the packages of a release; writes dist/
	@$(BIN)/workshed dev --install-only
	@$(BIN)/python -m tools.release

clean: ## Remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist site

$(VENV)/.ready: requirements.lock pyproject.toml tests/node/package-lock.json
	@sh .ci/environment '$(PYTHON)' $(VENV)
	@sh .ci/node $(VENV)
	@touch $@
