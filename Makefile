# Everything a person runs by hand. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
SYNAPSE_VERSION := 1.163.2
export SYNAPSE_PYTHON ?= $(CURDIR)/.venv/synapse/bin/python
export ANSIBLE_HOME := $(CURDIR)/.ansible
SCENARIOS := default existing
MORE_SCENARIOS := $(filter-out $(SCENARIOS),$(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))
export MOLECULE_GLOB := molecule/*/molecule.yml
export PATH := $(BIN):$(PATH)

.PHONY: help
help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/requirements.stamp: requirements.txt tools/make-venv
	@tools/make-venv $(PYTHON) $(VENV) -r requirements.txt
	@touch $@

$(VENV)/synapse.stamp: $(VENV)/requirements.stamp tools/make-venv
	@tools/make-venv $(PYTHON) $(VENV)/synapse matrix-synapse==$(SYNAPSE_VERSION)
	@touch $@

.PHONY: setup
setup: $(VENV)/requirements.stamp ## Install the tools into .venv

.PHONY: demo
demo: setup ## Deploy the whole backend on a lab host and prove a call on it
	@tools/demo

.PHONY: lab-up
lab-up: setup ## Start the demo's hosts without deploying anything
	@python -m lab up demo

.PHONY: lab-down
lab-down: setup ## Remove every lab, its images and what was built for it
	@python -m lab down --all --purge

.PHONY: lint
lint: setup ## Lint everything
	@tools/lint

.PHONY: unit
unit: $(VENV)/synapse.stamp ## Run the unit tests
	@python -m pytest

.PHONY: molecule
molecule: setup ## Deploy and verify on every platform and on a server made by hand
	@tools/scenarios $(SCENARIOS)

.PHONY: molecule-all
molecule-all: setup ## Deploy and verify on every kind of infrastructure
	@tools/scenarios $(SCENARIOS) $(MORE_SCENARIOS)

.PHONY: more-scenarios
more-scenarios: # for .ci/run: what test-all has beyond test
	@echo $(MORE_SCENARIOS)

.PHONY: test
test: lint unit molecule ## Lint, unit tests and the scenarios that every change has to pass

.PHONY: test-all
test-all: lint unit molecule-all ## The same with every scenario

.PHONY: bench
bench: setup ## Measure a fresh lab and write docs/benchmarks.md
	@python -m tools.bench

.PHONY: figures
figures: setup ## Write what the scenarios measured to docs/benchmarks.md
	@python -m tools.bench --figures

.PHONY: docs
docs: setup ## Generate the variable tables of the role READMEs and the index of docs/troubleshooting.md
	@tools/role-docs
	@python -m tools.troubleshooting

.PHONY: build
build: setup ## Build the collection's archive
	@ansible-galaxy collection build --force

.PHONY: lock
lock: ## Pin the newest versions of requirements.in
	@rm -rf .venv/lock && tools/make-venv $(PYTHON) .venv/lock -r requirements.in
	@{ echo '# Made by `make lock` from requirements.in. Development only: a controller needs nothing but Ansible.'; \
	   .venv/lock/bin/python -m pip freeze; } > requirements.txt
	@rm -rf .venv/lock
