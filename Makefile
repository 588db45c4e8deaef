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
BENCH_VENV := .venv/bench
MUTANTS_VENV := .venv/mutants
BIN := $(VENV)/bin

# The function is compiled for the Python that Lambda runs it with; only that very version will do.
LAMBDA_PYTHON ?= $(shell for p in python3.13 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.13.*/bin/python3.13; do \
	"$$p" -c 'import sys, pip; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && echo "$$p" && break; done)
# Of Lambda, not of this machine: x86_64 or arm64. Remembered in samconfig.toml by the first deployment.
DEPLOYED := $(shell sed -nE 's/.*[^A-Za-z]Architecture=[^a-z]*(x86_64|arm64).*/\1/p' samconfig.toml)
ARCHITECTURE ?= $(or $(DEPLOYED),x86_64)
BUILD ?= .aws-sam/build
SAM := SAM_CLI_TELEMETRY=0 $(SAM_VENV)/bin/sam
AWS := $(SAM_VENV)/bin/aws

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12

# $(call venv,folder,lock file): a virtual environment that holds exactly what the lock names. uv does it
# in seconds; where uv cannot run, or does not know the package index that pip is set up with, pip does it.
define venv
@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found: install one, or say make PYTHON=/path/to/python3.13" >&2; exit 1; }
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

# rclone: it compares both sides after a soak, and is what we are measured against.
$(BENCH_VENV)/.installed: requirements/bench.txt
	$(call venv,$(BENCH_VENV),$<)

# The tests, and mutmut: only `make mutants` needs it.
$(MUTANTS_VENV)/.installed: requirements/mutants.txt
	$(call venv,$(MUTANTS_VENV),$<)

setup: $(VENV)/.installed $(SAM_VENV)/.installed $(BENCH_VENV)/.installed ## install all tools into .venv/

fmt: $(VENV)/.installed ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.installed ## ruff and mypy (strict)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Many tests wait for a server or a clock: one process more than there are cores.
TEST_PROCESSES ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
test: setup ## all tests, with a gate on how much of the function they cover
	$(BIN)/pytest -n $(TEST_PROCESSES) --maxprocesses 8 --cov

# docs/TESTING.md has the scores and the groups. SAMPLE=20: at most 20 mutants of each module.
mutants: $(MUTANTS_VENV)/.installed ## hours: change the code in every way, name the changes that no test notices
	@$(MUTANTS_VENV)/bin/python -m tools.build.mutants $(GROUP) $(if $(PROCESSES),--processes $(PROCESSES)) \
		$(if $(SAMPLE),--sample $(SAMPLE))

demo: setup ## the whole service on this machine: no account, no Docker
	@$(BIN)/python -m tools.local.demo

up: setup ## the same to play with: stays up until Ctrl-C
	@$(BIN)/python -m tools.local.up

OBJECTS ?= 2000
CHANGES ?= 3000
WORKERS ?= 3
FAULTS ?= 0.05
soak: setup ## minutes of changes, faults and kills; then both sides are compared
	@$(BIN)/python -m tools.soak --objects $(OBJECTS) --changes $(CHANGES) --workers $(WORKERS) --faults $(FAULTS) \
		$(if $(SEED),--seed $(SEED))

ROUNDS ?= 3
bench: $(BENCH_VENV)/.installed ## half an hour: against rclone and the tutorial's Lambda, into docs/BENCHMARK.md (QUICK=1: minutes, printed)
	@$(BENCH_VENV)/bin/python -m tools.benchmarks --rounds $(ROUNDS) $(if $(QUICK),--quick,--output docs/BENCHMARK.md)

validate: $(SAM_VENV)/.installed ## check the template: sam's and cfn-lint's rules
	$(SAM) validate --lint
	$(SAM_VENV)/bin/cfn-lint template.yaml -a cfn_lint_serverless.rules

build: $(SAM_VENV)/.installed ## build the function for Lambda, into .aws-sam/build
	@test -n "$(LAMBDA_PYTHON)" || { echo "No Python 3.13 with pip found on PATH or in pyenv, and it is the one that" \
		"Lambda runs the function with. Get one (pyenv install 3.13), or say where it is:" \
		"make $@ LAMBDA_PYTHON=/path/to/python3.13" >&2; exit 1; }
	@output=$$(LAMBDA_PYTHON="$(LAMBDA_PYTHON)" ARCHITECTURE=$(ARCHITECTURE) \
		$(SAM) build --build-dir $(BUILD) --parameter-overrides Architecture=$(ARCHITECTURE) 2>&1) \
		|| { echo "$$output" >&2; exit 1; }
	@echo "$(BUILD): $(ARCHITECTURE), $$(find $(BUILD)/ReplicateFunction -type f | wc -l) files," \
		"$$(( $$(du -sk $(BUILD)/ReplicateFunction | cut -f1) / 1024 )) MiB"

# What it asks for is in docs/DEPLOY.md. The answers are kept in samconfig.toml, and not asked for again.
deploy: $(SAM_VENV)/.installed ## build and deploy to AWS: needs an account, asks what it has to know
	@test "$(or $(DEPLOYED),$(ARCHITECTURE))" = "$(ARCHITECTURE)" || { echo "samconfig.toml says Architecture=$(DEPLOYED)," \
		"and that is what the stack would get: change it there, then plain make deploy." >&2; exit 1; }
	@AWS_DEFAULT_REGION=$${AWS_REGION:-$${AWS_DEFAULT_REGION:-us-east-1}} \
		$(SAM_VENV)/bin/aws sts get-caller-identity --query Arn --output text || { echo "These are no AWS credentials" \
		"that work: log in first (aws configure, aws sso login), or set AWS_PROFILE." >&2; exit 1; }
	@$(MAKE) build BUILD=.aws-sam/build
	$(SAM) deploy \
		$(if $(shell grep parameter_overrides samconfig.toml),,--guided --parameter-overrides Architecture=$(ARCHITECTURE))

sam-local: setup ## run the function in Docker with every sample event, and the API
	@$(MAKE) build BUILD=.aws-sam/local ARCHITECTURE=$(if $(filter arm64 aarch64,$(shell uname -m)),arm64,x86_64)
	@$(BIN)/python -m tools.build.sam_local .aws-sam/local/template.yaml

# docs/OPERATIONS.md has the plain commands behind these two.
redrive: $(SAM_VENV)/.installed ## run again what failed: make redrive STACK=s3-to-gcs
	@test -n "$(STACK)" || { echo "Which stack? Say make redrive STACK=s3-to-gcs" >&2; exit 1; }
	@output() { $(AWS) cloudformation describe-stacks --stack-name "$(STACK)" --output text \
		--query "Stacks[0].Outputs[?OutputKey=='$$1'].OutputValue"; }; \
	from=$$(output FailureQueueArn); to=$$(output EventQueueArn); \
	test -n "$$from" -a -n "$$to" || { echo "The stack $(STACK) has no FailureQueueArn and EventQueueArn among its" \
		"outputs: is it this template's? If it is an older one, run make deploy first." >&2; exit 1; }; \
	$(AWS) sqs start-message-move-task --source-arn "$$from" --destination-arn "$$to" > /dev/null; \
	echo "Moving. How far it is: aws sqs list-message-move-tasks --source-arn $$from"

doctor: $(SAM_VENV)/.installed ## examine a deployment hop by hop: make doctor FUNCTION=name
	@test -n "$(FUNCTION)" || { echo "Which function? Say make doctor FUNCTION=name, with its name or ARN: the" \
		"stack's output FunctionArn" >&2; exit 1; }
	@answer=$$(mktemp) && trap 'rm -f "$$answer"' EXIT; \
	$(AWS) lambda invoke --function-name "$(FUNCTION)" --payload '{"doctor": true}' \
		--cli-read-timeout 0 "$$answer" > /dev/null; \
	"$(PYTHON)" -m json.tool --no-ensure-ascii "$$answer"; \
	grep -q '"healthy": *true' "$$answer" || { echo 'Not healthy: the hop with "ok": false says what to do.' >&2; exit 1; }

# The locks carry names, versions and hashes, and no source's address.
lock: $(VENV)/.installed ## resolve all dependencies anew
	cd requirements && for lock in ../functions/requirements uv sam dev bench mutants audit; do \
		../$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url $$lock.in -o $$lock.txt; done

clean: ## remove everything that make made
	rm -rf .venv .cache .aws-sam

.PHONY: help setup fmt lint test mutants lock clean demo up soak bench validate build deploy sam-local redrive doctor
