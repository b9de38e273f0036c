# `make demo` and `make test` do all of their own set-up; everything lives in .venv and runs/, and nothing else is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := runs/demo

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check bench clean

help:  ## Show these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Expected Python 3.11 or newer; received $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## Train a LeNet on real handwritten digits, test it, look inside it, and read one digit
	rm -rf $(DEMO)
	$(BIN)/striate train lenet --data digits28 --epochs 40 --learning-rate 3e-3 --label-smoothing 0.1 \
		--option dropout=0.3 --out $(DEMO)
	$(BIN)/striate evaluate $(DEMO)
	$(BIN)/striate inspect $(DEMO)
	$(BIN)/striate look $(DEMO)
	$(BIN)/striate predict $(DEMO) $(DEMO)/look/input.png --top-k 3

test: $(INSTALLED)  ## Run the tests
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: $(INSTALLED)  ## Run the tests that take minutes
	$(BIN)/python -m pytest -m slow

check: $(INSTALLED)  ## Lint, formatting, types and layering: what CI checks besides the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layering.py

bench: $(INSTALLED)  ## Measure convolutions, networks, accuracy, the training loop, reading and recovery (DATA=folder of data sets, MNIST=folder of MNIST); keep the machine quiet
	$(BIN)/python bench/convolutions.py
	$(BIN)/python bench/overhead.py
	$(BIN)/python bench/networks.py --compile --peers
	$(BIN)/python bench/accuracy.py $(if $(DATA),--data $(DATA))
	$(BIN)/python bench/training_loop.py $(if $(MNIST),--data $(MNIST))
	$(BIN)/python bench/reading.py $(if $(DATA),--data $(DATA))
	$(BIN)/python bench/larger_than_memory.py
	$(BIN)/python bench/kill_and_resume.py

clean:  ## Remove what the other targets made
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
