# `make` without a target lists the targets. Each target installs what it needs into .venv/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The tools run with Python 3.13, the version of the Lambda function, or with any Python from 3.11 on.
# Each candidate is run once, because the shim of a version manager may exist and not work.
PYTHON ?= $(shell for p in python3.13 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.13.*/bin/python3.13 \
	python3.14 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV := .venv/dev
SAM_VENV := .venv/sam
BENCH_VENV := .venv/bench
MUTANTS_VENV := .venv/mutants
AUDIT_VENV := .venv/audit
BIN := $(VENV)/bin

# The build compiles the function to .pyc files, which only the same version of Python can read.
LAMBDA_PYTHON ?= $(shell for p in python3.13 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.13.*/bin/python3.13; do \
	"$$p" -c 'import sys, pip; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && echo "$$p" && break; done)
# Architecture of the Lambda function: x86_64 or arm64. The first deployment saves it in samconfig.toml.
DEPLOYED := $(shell sed -nE 's/.*[^A-Za-z]Architecture=[^a-z]*(x86_64|arm64).*/\1/p' samconfig.toml)
ARCHITECTURE ?= $(or $(DEPLOYED),x86_64)
BUILD ?= .aws-sam/build
SAM := SAM_CLI_TELEMETRY=0 $(SAM_VENV)/bin/sam
PIP_AUDIT := $(AUDIT_VENV)/bin/pip-audit
LOCKS := functions/requirements.txt $(sort $(wildcard requirements/*.txt))

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12

# $(call venv,folder,lock file) creates a virtual environment with exactly the packages of the lock file.
# uv takes seconds. pip is used where uv does not run or cannot reach the package index of pip.
define venv
@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found: install one, or run make PYTHON=/path/to/python3.13" >&2; exit 1; }
@echo "Installing $(2) into $(1) with $(PYTHON)"
@rm -rf $(1) && "$(PYTHON)" -m venv $(1)
@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt 2>/dev/null \
	&& $(1)/bin/uv pip install --quiet --python $(1)/bin/python --compile-bytecode --require-hashes -r $(2) \
	|| $(1)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(2)
@touch $@
endef

$(VENV)/.installed: requirements/dev.txt
	$(call venv,$(VENV),$<)

$(SAM_VENV)/.installed: requirements/sam.txt
	$(call venv,$(SAM_VENV),$<)

# rclone compares both sides after a soak, and the benchmark measures it as a competitor.
$(BENCH_VENV)/.installed: requirements/bench.txt
	$(call venv,$(BENCH_VENV),$<)

# The packages of the tests, and mutmut, which only `make mutants` needs.
$(MUTANTS_VENV)/.installed: requirements/mutants.txt
	$(call venv,$(MUTANTS_VENV),$<)

# pip-audit, which only `make audit` needs.
$(AUDIT_VENV)/.installed: requirements/audit.txt
	$(call venv,$(AUDIT_VENV),$<)

setup: $(VENV)/.installed $(SAM_VENV)/.installed $(BENCH_VENV)/.installed ## install all tools into .venv/

fmt: $(VENV)/.installed ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.installed ## check the code with ruff and mypy (strict)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Five processes for two cores, because many tests wait for a server or a clock: with four, a sixth of the CPU is idle.
# Python may write the bytecode of the tests: otherwise each process compiles them all.
TEST_PROCESSES ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) * 5 / 2 )))
test: setup ## run all tests and check their coverage of the function
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n $(TEST_PROCESSES) --maxprocesses 8 --cov

unit: $(VENV)/.installed ## run the unit and event tests only (seconds)
	$(BIN)/pytest tests/unit tests/events

# docs/TESTING.md has the groups and the scores. SAMPLE=20 tests at most 20 mutants of each module.
mutants: $(MUTANTS_VENV)/.installed ## mutation tests: list the changes of the code that no test detects (hours)
	@$(MUTANTS_VENV)/bin/python -m tools.build.mutants $(GROUP) $(if $(PROCESSES),--processes $(PROCESSES)) \
		$(if $(SAMPLE),--sample $(SAMPLE))

demo: setup ## run the whole service on this machine, without an account or Docker
	@$(BIN)/python -m tools.local.demo

pictures: setup ## run the demo and draw its terminal into docs/demo.svg; draw the last soak's report of the reconcile
	@$(BIN)/python -m tools.local.demo --picture docs/demo.svg
	@if command -v chromium > /dev/null && test -f .cache/soak/soak-reconcile.html; then chromium --headless --no-sandbox \
		--hide-scrollbars --window-size=800,1000 --screenshot=docs/soak-reconcile.png \
		"file://$$PWD/.cache/soak/soak-reconcile.html" 2> /dev/null; \
	else echo "docs/soak-reconcile.png stays as it is: drawing it needs chromium and the report of a make soak."; fi

up: setup ## start the same service and keep it running until Ctrl-C
	@$(BIN)/python -m tools.local.up

OBJECTS ?= 1500
CHANGES ?= 2500
WORKERS ?= 3
FAULTS ?= 0.05
GZIP_SHARE ?= 0.5
soak: setup ## change objects, inject faults and kill processes for minutes, then compare both sides
	@$(BIN)/python -m tools.soak --objects $(OBJECTS) --changes $(CHANGES) --workers $(WORKERS) --faults $(FAULTS) \
		--gzip $(GZIP_SHARE) $(if $(SEED),--seed $(SEED))

ROUNDS ?= 3
bench: $(BENCH_VENV)/.installed ## compare with rclone and the tutorial's Lambda, into docs/BENCHMARK.md (45 minutes; QUICK=1 or LARGE=1: minutes; RECONCILE=1 or GZIP=1: a quarter of an hour)
	@PYTHONPATH=functions $(BENCH_VENV)/bin/python -m $(if $(RECONCILE),tools.benchmarks.reconcile,$(if $(GZIP),\
		tools.benchmarks.egress --rounds $(ROUNDS),tools.benchmarks --rounds $(ROUNDS) $(if $(LARGE),--large) \
		$(if $(QUICK)$(LARGE),,--output docs/BENCHMARK.md))) $(if $(QUICK),--quick)

simulate: $(VENV)/.installed ## simulate a copy of 5 TiB, and write its time and its costs into the documents (seconds)
	@PYTHONPATH=functions $(BIN)/python -m tools.benchmarks.simulation

validate: $(SAM_VENV)/.installed ## check the templates with the rules of sam and cfn-lint
	$(SAM) validate --lint
	$(SAM_VENV)/bin/cfn-lint template.yaml monitoring.yaml -a cfn_lint_serverless.rules

# The bill of materials is beside the folder of the function, so it is not deployed.
build: $(SAM_VENV)/.installed ## build the function and its bill of materials, into .aws-sam/build
	@test -n "$(LAMBDA_PYTHON)" || { echo "No Python 3.13 with pip found on PATH or in pyenv. The build needs the" \
		"version that Lambda runs. Install it (pyenv install 3.13), or name its path:" \
		"make $@ LAMBDA_PYTHON=/path/to/python3.13" >&2; exit 1; }
	@output=$$(LAMBDA_PYTHON="$(LAMBDA_PYTHON)" ARCHITECTURE=$(ARCHITECTURE) \
		$(SAM) build --build-dir $(BUILD) --parameter-overrides Architecture=$(ARCHITECTURE) 2>&1) \
		|| { echo "$$output" >&2; exit 1; }
	@$(SAM_VENV)/bin/cyclonedx-py requirements functions/requirements.txt --output-reproducible --output-file $(BUILD)/sbom.json
	@echo "$(BUILD): $(ARCHITECTURE), $$(find $(BUILD)/ReplicateFunction -type f | wc -l) files," \
		"$$(( $$(du -sk $(BUILD)/ReplicateFunction | cut -f1) / 1024 )) MiB"

# docs/CONFIGURATION.md explains the questions. The answers are saved in samconfig.toml for the next time.
deploy: $(SAM_VENV)/.installed ## build and deploy to an AWS account; asks for the parameters
	@test "$(or $(DEPLOYED),$(ARCHITECTURE))" = "$(ARCHITECTURE)" || { echo "samconfig.toml says Architecture=$(DEPLOYED)," \
		"and the stack would get that value. Change it there, then run make deploy." >&2; exit 1; }
	@AWS_DEFAULT_REGION=$${AWS_REGION:-$${AWS_DEFAULT_REGION:-us-east-1}} \
		$(SAM_VENV)/bin/aws sts get-caller-identity --query Arn --output text || { echo "There are no valid AWS" \
		"credentials. Log in first (aws configure, aws sso login), or set AWS_PROFILE." >&2; exit 1; }
	@$(MAKE) build BUILD=.aws-sam/build
	$(SAM) deploy \
		$(if $(shell grep parameter_overrides samconfig.toml),,--guided --parameter-overrides Architecture=$(ARCHITECTURE))

sam-local: setup ## run the function in Docker with every sample event, and the API
	@$(MAKE) build BUILD=.aws-sam/local ARCHITECTURE=$(if $(filter arm64 aarch64,$(shell uname -m)),arm64,x86_64)
	@$(BIN)/python -m tools.build.sam_local .aws-sam/local/template.yaml

# The commands on a deployed stack: docs/OPERATIONS.md. docs/SECURITY.md has the permissions that each needs.
OPERATE = $(BIN)/python -m tools.operate
doctor: $(VENV)/.installed ## check a stack and its function: make doctor STACK=s3-to-gcs [JSON=1] [COMPRESS=1]
	@$(OPERATE) doctor "$(STACK)" $(if $(JSON),--json) $(if $(COMPRESS),--compress)

status: $(VENV)/.installed ## show lag, backlog, dead letters and the last reconcile: make status STACK=s3-to-gcs
	@$(OPERATE) status "$(STACK)"

redrive: $(VENV)/.installed ## run failed events again: make redrive STACK=s3-to-gcs [CODE=error_code] [RATE=100] [DRY_RUN=1]
	@$(OPERATE) redrive "$(STACK)" $(CODE:%=--code "%") $(if $(RATE),--rate "$(RATE)") $(if $(DRY_RUN),--dry-run)

# The shell, and not make, inserts PREFIX: it may have any character.
reconcile: $(VENV)/.installed ## compare both sides: make reconcile STACK=s3-to-gcs [PREFIX=logs/] [GRACE_MINUTES=15] [REPAIR=1] [YES=1]
	@$(OPERATE) reconcile "$(STACK)" --prefix "$${PREFIX:-}" $(if $(GRACE_MINUTES),--grace-minutes "$(GRACE_MINUTES)") $(if $(REPAIR),--repair) $(if $(YES),--yes)

# The lock files have names, versions and hashes. They do not name a package index.
lock: $(VENV)/.installed ## resolve all dependencies again and write the lock files
	cd requirements && for lock in ../functions/requirements uv sam dev bench mutants audit; do \
		../$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url $$lock.in -o $$lock.txt; done

# Without --strict pip-audit succeeds even if it skipped a package that it could not look up.
audit: $(AUDIT_VENV)/.installed ## search the locked packages for known vulnerabilities
	@for lock in $(LOCKS); do \
		echo "$$lock"; \
		found=$$($(PIP_AUDIT) --strict --progress-spinner off --require-hashes --disable-pip -r "$$lock" 2>&1) && continue; \
		echo "$$found" >&2; \
		case "$$found" in *"known vulnerabilit"*) vulnerable=yes ;; *onnect*|*imed*out*) \
			echo "The audit did not run: pip-audit could not reach its database, as it says above. Run make" \
				"audit again where https://pypi.org can be reached." >&2; exit 1 ;; *) \
			echo "The audit did not run: pip-audit failed, as it says above." >&2; exit 1 ;; esac; \
	done; test -z "$${vulnerable:-}"

clean: ## remove all files that make created
	rm -rf .venv .cache .aws-sam

.PHONY: help setup fmt lint unit test mutants lock clean demo pictures up soak bench simulate validate build deploy sam-local doctor status redrive reconcile audit
