# The two commands a newcomer needs: `make train` and `make test`. Both install what they need first.

EXPERIMENT ?= cartpole
ARGS ?=
EXTRAS ?= all
PYTHON ?= python3
BIN := .venv/bin

# Where it is set, each process compiles all that it imports anew: torch alone takes two seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install train demo gpu test test-slow test-faults soak lint types docs format reading tensorboard clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/installed ## Install optional parts: make install EXTRAS=detection,faces (or EXTRAS=all)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable ".[$(EXTRAS)]"
	@echo "installed: $(EXTRAS)"

train: .venv/installed ## Train an experiment: make train EXPERIMENT=javelin ARGS="estimator=spsa"
	@$(BIN)/diffobj train experiment=$(EXPERIMENT) $(ARGS)

demo: .venv/installed-demo ## Try it on a page in your browser (on this machine only)
	@$(BIN)/diffobj demo

gpu: .venv/installed ## Measure games, drawings and estimators on a GPU; without one a tiny run on the CPU
	@$(BIN)/python -m experiments.benchmarks.gpu $(ARGS)

test: .venv/installed-dev lint types ## Lint, check types and run the tests
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"
	@echo "make test: lint, types and tests passed. The long tests: make test-slow"

test-slow: .venv/installed-dev ## Run the tests that train to a published result
	@$(BIN)/python -m pytest -m "slow and not faults"

test-faults: .venv/installed-dev ## Kill, starve, damage and race runs: none may be lost
	@$(BIN)/python -m pytest -m faults

soak: .venv/installed-dev ## Train for 20 minutes: memory, descriptors, threads and time of a step must not grow
	@$(BIN)/python -m tests.soak 20

lint: .venv/installed-dev ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: .venv/installed-dev ## Check the type hints
	@$(BIN)/mypy

docs: .venv/installed-docs ## Build the documentation site into build/site; warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "docs: build/site/index.html"

format: .venv/installed-dev ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

reading: .venv/installed ## Print the reading budget: long files, full folders, one optimiser step
	@$(BIN)/python -m experiments.reading

tensorboard: .venv/installed ## Watch the runs in outputs/ (on this machine only)
	@$(BIN)/tensorboard --logdir outputs

clean: ## Remove the environment and every cache; runs in outputs/ stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

# uv resolves and installs in a fifth of pip's time; it lives inside the environment it fills.
.venv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "diffobj needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv

.venv/installed: pyproject.toml | .venv/bin/uv
	$(BIN)/uv pip install --python $(BIN)/python --editable .
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/uv
	$(BIN)/uv pip install --python $(BIN)/python --editable ".[dev]"
	@touch $@ .venv/installed

.venv/installed-docs: pyproject.toml | .venv/bin/uv
	$(BIN)/uv pip install --python $(BIN)/python --editable ".[docs]"
	@touch $@ .venv/installed

.venv/installed-demo: pyproject.toml | .venv/bin/uv
	$(BIN)/uv pip install --python $(BIN)/python --editable ".[demo]"
	@touch $@ .venv/installed
