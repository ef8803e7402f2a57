# `make sweep` and `make test` set up all they need: Python 3.11 to 3.13, git and make suffice.
PYTHON ?= python3
BIN := .venv/bin
SPEC ?= ablation.yaml
STUDY ?= components
CORE := -m "not slow and not browser and not cluster"

.PHONY: help install sweep report mlflow test test-all coverage fuzz chaos lint benchmarks clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

install: .venv/installed ## the environment in .venv, with the tested versions

.venv/installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, this is {sys.version.split()[0]}: make PYTHON=python3.12 ...")'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --extra dev -r pyproject.toml
	@touch $@

sweep: install   ## run the study of SPEC (ablation.yaml), then write its report
	$(BIN)/python -m platform.sweep $(SPEC)

report: install  ## write the report of STUDY again
	$(BIN)/python -m analysis.report $(STUDY)

mlflow: install  ## open the MLflow UI on the studies' store (http://127.0.0.1:5000)
	$(BIN)/python -m mlflow ui --backend-store-uri sqlite:///$(CURDIR)/results/mlflow.db

test: install    ## the core tests, side by side but those that start Ray
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(CORE) -n auto --dist loadfile --ignore tests/platform
	$(BIN)/python -m pytest $(CORE) tests/platform

test-all: install ## every test; what is skipped is counted and named
	$(BIN)/python -m pytest

coverage: install ## the core tests with the coverage of each package; what runs in subprocesses is not counted
	$(BIN)/python -m pytest $(CORE) --cov --cov-report=term
	for package in platform trials analysis; do $(BIN)/python -m coverage report --include="$$package/*" | tail -1 | sed "s/TOTAL/$$package/"; done

lint: install    ## format, style, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m mypy
	PYTHONPATH=. $(BIN)/lint-imports

fuzz: install    ## 1,000 damaged or hostile specs: each refused in sentences, or planned
	$(BIN)/python tests/fuzz.py --cases 1000

chaos: install   ## studies killed at random moments and resumed; their tables equal undisturbed ones
	$(BIN)/python -m tests.platform.chaos

benchmarks: install ## what is fast, measured against a rival
	for script in benchmarks/*.py; do PYTHONPATH=. $(BIN)/python $$script --quick || exit 1; done

clean:           ## remove the environment and caches; results stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
