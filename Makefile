# Every target does its own set-up; tests/setup.sh says how, tests/stages.sh says what a stage runs.

DEMO := tests/setup.sh demo
TEST := tests/setup.sh test

# `make demo ARCH=arm64`, say, or `make molecule ARCH=amd64 SUITE=trixie`. People who build kernels may have
# another ARCH in their environment.
ifeq ($(origin ARCH),command line)
export LAB_ARCH := $(ARCH)
endif
ifeq ($(origin SUITE),command line)
export LAB_SUITE := $(SUITE)
endif

.DEFAULT_GOAL := help
.PHONY: help demo test test-matrix layout fuzz lint unit sanity molecule agreement benchmark clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: ## Watch three boards take a livepatch, hand its state over, and refuse a wrong one
	@$(DEMO) tests/demo

test: ## Run lint, unit, sanity, molecule, agreement and benchmark
	@$(TEST) tests/stages.sh lint unit sanity molecule agreement benchmark

test-matrix: export LAB_KERNELS := amd64/bookworm amd64/trixie amd64/trixie-backports arm64
test-matrix: ## Run molecule and agreement on every kernel of the lab, 6.1 to the newest
	@$(TEST) tests/stages.sh molecule agreement

lint: ## Run ruff, mypy, ansible-lint, shellcheck and the changelog's linter
	@$(TEST) tests/stages.sh lint

unit: ## Run the unit tests
	@$(TEST) tests/stages.sh unit

sanity: ## Run ansible-test sanity
	@$(TEST) tests/stages.sh sanity

molecule: ## Run the Molecule scenarios on boards with a real kernel, amd64 and arm64
	@$(TEST) tests/stages.sh molecule

agreement: ## Compare files and the gate with the kernel, over random livepatches, amd64 and arm64
	@$(TEST) tests/stages.sh agreement

benchmark: ## Measure a rollout against ansible.builtin.ping and the obvious playbook
	@$(TEST) tests/stages.sh benchmark

layout: export LAB_KERNELS := arm64/replace-set arm64/replace-set-no-btf arm64/state-callbacks arm64/state-callbacks-no-btf
layout: ## Prove on kernels with other struct klp_* that they are never misread (builds four kernels, once)
	@$(TEST) tests/stages.sh layout

fuzz: ## Damage livepatch files, catalogs, answers and kernel memory, RUNS of each (100000), until something gives
	@$(TEST) tests/stages.sh fuzz

clean: ## Remove what these targets made, their cache outside the repository included
	@tests/setup.sh clean
