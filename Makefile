# The commands of this repository; `make` alone lists them. Packages go into .venv and nowhere else.

PYTHON ?= python3
TORCH_INDEX ?=
WORKERS ?= 1
CALLS ?= 100000
MINUTES ?= 3
ARGS ?= $(filter --%,$(MAKECMDGOALS)) # so that `make bench -- --small` works as it reads

VENV := .venv
BIN := $(VENV)/bin
LOCK := pyproject.toml constraints.txt
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PROTOC := $(BIN)/python -m grpc_tools.protoc -I proto
PROTOS := $(wildcard proto/smalti/v1/*.proto)
INFERENCE := server/inference/protocol.binpb
RUN_READY := $(if $(wildcard $(VENV)/.dev),$(VENV)/.dev,$(VENV)/.demo) # the development environment is enough for running, too
FAST_TESTS := $(filter-out tests/system,$(patsubst %/,%,$(sort $(dir $(wildcard tests/*/.)))))

# An option for a variable that stands on make's command line. PORT in the environment often belongs to another program.
named = $(if $(filter command,$(firstword $(origin $(1)))),$(2) $($(1)))
TESTS = $(sort $(wildcard tests/test_*.py) $(FAST_TESTS)) $(wildcard tests/system)

.DEFAULT_GOAL := help
.PHONY: help setup demo up secrets recording proto check lint types imports generated test slow fuzz soak docs docs-serve bench clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'
	@echo "  Variables: PYTHON=python3.12, WORKERS=3 PORT=50061 METRICS_PORT=9411 REDIS_PORT=6390 (up),"
	@echo "             ARGS='...' (demo, up, recording, test, bench),"
	@echo "             TORCH_INDEX=URL, the package index to take torch from (README: its small CPU build)"

# The environment
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "smalti needs Python 3.11, 3.12 or 3.13, and '$(PYTHON)' is not that: name another one, 'make PYTHON=python3.12 ...'." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "This Python cannot make virtual environments: run 'apt install python3-venv', then try again." >&2; exit 1; }
	@echo "Making a virtual environment in $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(LOCK) | $(BIN)/python
	@echo "Installing what serving needs into $(VENV) (onnxruntime, grpcio, redis ...; no torch); this takes a minute"
	@$(INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(LOCK) | $(BIN)/python
	@echo "Installing what development and training need into $(VENV) (torch among it); this takes some minutes"
	@$(INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) --no-deps "$$(grep '^torch==' constraints.txt)"
	@$(INSTALL) -e '.[dev]'
	@touch $@

setup: $(VENV)/.dev ## install everything for development and training into .venv

$(VENV)/.docs: $(LOCK) | $(BIN)/python
	@echo "Installing what builds the documentation into $(VENV) (MkDocs among it)"
	@$(INSTALL) -e '.[docs]'
	@touch $@

# Running
demo: $(RUN_READY) ## start the whole system, draw pictures, show latencies, stop it again
	@$(BIN)/python -m local.demo $(ARGS)

up: $(RUN_READY) ## run the whole system on this machine until Ctrl-C
	@$(BIN)/python -m local.up --workers $(WORKERS) $(call named,PORT,--port) $(call named,METRICS_PORT,--metrics-port) $(call named,REDIS_PORT,--redis-port) $(ARGS)

secrets: $(RUN_READY) ## make certificates, tokens and passwords in secrets/ for docker-compose.secure.yml
	@$(BIN)/python -m local.secrets $(ARGS)

recording: $(VENV)/.dev ## record rows appearing in a terminal into docs/drawing.gif
	@$(BIN)/python -m local.recording $(ARGS)

bench: $(VENV)/.dev ## run all benchmarks (ten minutes); figures as JSON in out/benchmarks
	$(BIN)/python -m benchmarks $(ARGS)

# Checking
proto: $(VENV)/.dev ## generate smalti/v1 and the server's descriptors from proto/
	$(PROTOC) --python_out=. --pyi_out=. --grpc_python_out=. $(PROTOS)
	$(PROTOC) --descriptor_set_out=$(INFERENCE) inference/protocol.proto

check: lint types imports generated ## check style, types, imports and generated code

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports --no-logo

generated: $(VENV)/.dev
	@echo "Comparing smalti/v1 and $(INFERENCE) with what proto/ generates"
	@rm -rf .cache/generated && mkdir -p .cache/generated
	@$(PROTOC) --python_out=.cache/generated --pyi_out=.cache/generated --grpc_python_out=.cache/generated $(PROTOS)
	@diff -r -x __init__.py -x __pycache__ .cache/generated/smalti/v1 smalti/v1 || { \
	  echo "smalti/v1 differs from what proto/ generates: run 'make proto' and commit it." >&2; exit 1; }
	@$(PROTOC) --descriptor_set_out=.cache/generated/protocol.binpb inference/protocol.proto
	@cmp -s .cache/generated/protocol.binpb $(INFERENCE) || { \
	  echo "$(INFERENCE) differs from what proto/ generates: run 'make proto' and commit it." >&2; exit 1; }

test: $(VENV)/.dev ## run the tests; those that take long are in 'make slow'
	@echo "Testing, two files at a time: fast tests first, then the ones that start, kill and restart processes (a few minutes)"
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(TESTS) $(ARGS)

slow: $(VENV)/.dev ## run the tests that take long
	$(BIN)/python -m pytest -m slow $(TESTS) $(ARGS)

fuzz: $(VENV)/.dev ## send CALLS strange calls to a real server (100,000 take half an hour)
	$(BIN)/python -m pytest -m slow tests/system/test_fuzz.py --calls $(CALLS) $(ARGS)

soak: $(VENV)/.dev ## disturb a whole system at random for MINUTES (3); the report is in out/soak
	$(BIN)/python -m tests.system.soak --minutes $(MINUTES) $(ARGS)

# The documentation. A warning is an error: --quiet would hide warnings from --strict, so it is not here. Material's notice on
# the future of MkDocs is left out.
docs: $(VENV)/.docs ## build the documentation as a site in out/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "The documentation is in out/docs/index.html ('make docs-serve' shows it with its search)"

docs-serve: $(VENV)/.docs ## show the documentation on a local port, built anew when a page changes
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --strict

--%:
	@:

clean: ## remove .venv, caches and out/
	rm -rf $(VENV) .cache out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
