# Each target makes .venv first where it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test test-all check format docs clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	# torch first: a plain resolve would take the newest build, with gigabytes of CUDA packages.
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $(STAMP)

demo: install
	$(BIN)/ecotone demo --out demo

# The tests of a file share what is made for them once, so files go to processes whole.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile

test: install
	$(BIN)/python -m pytest $(PARALLEL)

test-all: install
	$(BIN)/python -m pytest $(PARALLEL) -m "slow or not slow"

check: install
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	for recipe in recipes/*.yaml; do $(BIN)/ecotone check --schema-only $$recipe || exit 1; done

format: install
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

docs: install
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) demo runs site build dist .pytest_cache .ruff_cache .hypothesis
