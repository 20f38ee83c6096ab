# Two commands on a fresh machine with Python 3.11, pip and make:
#   make demo   installs into .venv and runs the main job on what the package brings along
#   make test   installs into .venv and runs the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test coverage lint docs lock mutants dist audit sbom clean

demo: $(VENV)/installed
	$(BIN)/brainalign demo --out results/demo --overwrite

test: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

# How much of the code the tests run, by branch; at least 90 %. Not seen: processes that tests start with an environment of their own.
coverage: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --cov --cov-fail-under=90 -m "not slow"

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation with its gallery, from the demonstration data; a warning is an error.
docs: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -b html -W --keep-going docs docs/_build/html

$(VENV)/installed: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "brainalign needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-hashes --requirement requirements.lock
	$(PIP) install --quiet --no-deps --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-dev.lock
	$(PIP) install --quiet --require-hashes --requirement requirements-dev.lock
	touch $@

# Exact versions and digests of what brainalign needs, and of what the tests, the documentation and a release need too; for
# every platform. Versions that stand in the files already are kept where they still fit: delete a line to renew it.
lock: $(VENV)/installed-test
	$(LOCK) --output-file requirements.lock
	$(LOCK) --extra test --extra docs --extra cluster --extra release --constraint requirements.lock --output-file requirements-dev.lock
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml

# How many small faults planted in the statistics the tests would notice: docs/mutation-testing.md.
mutants: $(VENV)/installed-test
	$(BIN)/python tests/mutation/run.py

# The archives of a release, the wheel built from the sdist.
dist: $(VENV)/installed-test
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

# Known vulnerabilities of the locked versions. Asks a public database; a package that it cannot ask about is a failure.
audit: $(VENV)/installed-test
	$(BIN)/python .ci/audit --strict

# What a release is made of (software bill of materials, CycloneDX).
sbom: $(VENV)/installed-test
	mkdir -p dist
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --output-format JSON --output-file dist/brainalign.cdx.json

clean:
	rm -rf $(VENV) results dist
