# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
SOURCES := src tests benchmarks calibration scripts

.PHONY: demo test test-slow check format bench docs clean

demo: .venv/.installed-train
	@$(BIN)/traintime demo

test: check .venv/.installed-dev
	$(BIN)/pytest -m "not slow and not gpu"

test-slow: .venv/.installed-dev
	$(BIN)/pytest -m "slow"

check: .venv/.installed-dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/pyright
	$(BIN)/lint-imports

format: .venv/.installed-dev
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: .venv/.installed-train
	$(BIN)/python benchmarks/environments.py
	$(BIN)/python benchmarks/forecast_check.py
	$(BIN)/python benchmarks/step_overhead.py
	$(BIN)/python benchmarks/time_to_accuracy.py

docs: .venv/.installed-train
	$(BIN)/python scripts/make_pictures.py
	$(BIN)/python scripts/make_measurements.py

clean:
	rm -rf .venv .pytest_cache .ruff_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "traintime needs Python 3.11 or newer; type: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

# Each stamp installs the package with one extra more, in the versions that were tested.
.venv/.installed-train: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing traintime and torch into .venv (once; a minute or two) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	@touch $@

.venv/.installed-dev: .venv/.installed-train
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	@touch $@
