# Two commands on a fresh machine with Python 3.11, pip and make:
#   make demo   installs into .venv and runs the main job on what the package brings along
#   make test   installs into .venv and runs the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test lint lock clean

demo: $(VENV)/installed
	$(BIN)/brainalign demo --out results/demo --overwrite

test: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/installed: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "brainalign needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint requirements.lock --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) install --quiet --constraint requirements.lock --editable '.[test]'
	touch $@

# Exact versions of everything that the tests run with, in the environment at hand.
lock: $(VENV)/installed-test
	(sed -n '/^#/p' requirements.lock; $(PIP) freeze --exclude-editable) > requirements.tmp && mv requirements.tmp requirements.lock

clean:
	rm -rf $(VENV) results
