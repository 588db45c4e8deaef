# `make` alone says what there is. Every target installs what it needs, below .venv/ and nowhere else.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Python 3.13 is what Lambda runs: used where it is found, else any Python from 3.11 on. A version
# manager's shim may exist and not run, so each candidate is run.
PYTHON ?= $(shell for p in python3.13 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.13.*/bin/python3.13 \
	python3.14 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV := .venv/dev
SAM_VENV := .venv/sam
BIN := $(VENV)/bin

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12

# $(call venv,folder,lock file): a virtual environment that holds exactly what the lock names.
define venv
@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found: install one, or say make PYTHON=/path/to/python3.13" >&2; exit 1; }
@echo "Installing $(2) into $(1) with $(PYTHON)"
@rm -rf $(1) && "$(PYTHON)" -m venv $(1)
@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(2)
@touch $@
endef

$(VENV)/.installed: requirements/dev.txt
	$(call venv,$(VENV),$<)

$(SAM_VENV)/.installed: requirements/sam.txt
	$(call venv,$(SAM_VENV),$<)

setup: $(VENV)/.installed $(SAM_VENV)/.installed ## install all tools into .venv/

fmt: $(VENV)/.installed ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.installed ## ruff and mypy (strict)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: setup ## all tests
	$(BIN)/pytest

clean: ## remove everything that make made
	rm -rf .venv .cache .aws-sam

.PHONY: help setup fmt lint test clean
