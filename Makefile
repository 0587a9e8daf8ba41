# Two commands matter: 'make demo' and 'make test'. Both install the environment first.
PYTHON ?= python3
VENV := .venv
TOOLS := .venv-tools
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Bytecode comes from BYTECODE, which is faster than pip and leaves out what is never loaded.
PIP := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt
# The pip of older Pythons takes minutes to find installed packages.
NEWER_PIP := $(BIN)/python -m pip install --quiet pip==26.0
DEMO_CONFIG := workflow/config/demo.yaml
TEST_WORKERS ?= 2
# Where Python writes no bytecode itself (PYTHONDONTWRITEBYTECODE, common in containers), every command would compile a
# thousand modules first: 1 to 3 s each time.
BYTECODE := $(BIN)/python -W ignore -m compileall -q -j 0 -x '/(tests?|testing/_internal|torchgen|_inductor|onnx)/' $(VENV)/lib lcsd
# Files are UTF-8 in every locale.
export PYTHONUTF8 := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install install-locked lock audit demo test test-fast test-campaigns studies field reliability isolation lint structure format docs notebooks fresh cite release clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

install: $(READY)  ## Install lcsd into the environment .venv

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12), (3, 13)})' || \
	  { echo "The pinned versions are for Python 3.11 to 3.13; say which: make install PYTHON=python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(NEWER_PIP)
	$(PIP) torch
	$(PIP) --editable '.[dev]'
	$(BYTECODE)
	$(BIN)/python -m lcsd.monitor.warmup
	touch $(READY)

install-locked:  ## Install by the hashes of requirements.lock (except torch)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(NEWER_PIP)
	$(PIP) torch torchvision
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	$(BYTECODE)
	$(BIN)/python -m lcsd.monitor.warmup
	touch $(READY)

cite: install  ## Write the version of pyproject.toml and its date in CHANGELOG.md into the files for citing
	$(BIN)/python -m tests.cite

# Both tools have their own environment: lcsd does not depend on them.
release: install $(TOOLS)/bin/twine  ## Build sdist and wheel into dist/, check them, and build phantoms with the wheel (needs a network)
	rm -rf dist
	$(TOOLS)/bin/pyproject-build
	$(TOOLS)/bin/twine check --strict dist/*
	$(BIN)/python -m tests.wheel dist/*.whl

$(TOOLS)/bin/uv $(TOOLS)/bin/pip-audit $(TOOLS)/bin/twine:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet uv==0.13.9 pip-audit==2.10.1 build==1.6.1 twine==6.2.0

lock: $(TOOLS)/bin/uv  ## Write requirements.lock: constraints.txt with hashes (needs a network)
	grep -vE '^(#|torch==|torchvision==)' constraints.txt | $(TOOLS)/bin/uv pip compile --quiet \
	  --no-deps --generate-hashes --no-header --no-annotate --python-version 3.11 - > requirements.new
	mv requirements.new requirements.lock

audit: $(TOOLS)/bin/pip-audit  ## Check the pinned versions for known weaknesses (needs a network)
	$(TOOLS)/bin/pip-audit --no-deps --disable-pip --requirement requirements.lock

demo: install demo/cohort/pairs.tsv  ## Build three synthetic pairs through every stage
	$(BIN)/snakemake --profile workflow/profiles/workstation --configfile $(DEMO_CONFIG)
	@echo "Report: $(CURDIR)/demo/results/report/index.html"

# The manifest is written last, so a cohort with a manifest is complete.
demo/cohort/pairs.tsv: | $(READY)
	$(BIN)/lcsd phantom demo/cohort --cases 3 --seed 0

# Pytest rewrites each test's assertions and keeps them as bytecode; without it, workers do so anew at each start, for 15 s.
test test-fast test-campaigns: export PYTHONDONTWRITEBYTECODE :=

PYTEST := $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup --no-loadscope-reorder

test: install  ## Run all tests but the campaigns
	$(PYTEST) -m 'not campaign' --durations=50 --durations-min=2

test-campaigns: install  ## Run the long builds: killed, broken, selected, on a cluster, by TotalSegmentator
	$(PYTEST) -m campaign --durations=0 --durations-min=2

test-fast: install  ## Run the fast tests only
	$(PYTEST) -m 'not slow and not workflow'

STUDIES := methods grids sweep
studies: install demo  ## Measure DiVRoC again; tables and figures go to docs/divroc
	$(BIN)/python -m benchmarks.divroc.speed
	$(BIN)/python -m benchmarks.divroc.extrapolation
	for study in $(STUDIES); do \
	  $(BIN)/python -m benchmarks.divroc.$$study demo/cohort demo/results || exit 1; done

notebooks: install  ## Run the notebooks again and draw the pictures that the site shows
	$(BIN)/python -m tests.notebooks

FRESH :=
fresh:  ## Try the README and the wheel in a bare Debian root (needs root, mmdebstrap, a network; FRESH="demo test")
	tests/fresh.sh $(FRESH)

docs: install  ## Build the documentation's site into build/site (no network; a broken link is an error)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

field: install demo  ## Compare other methods with ours; the tables go to docs/benchmarks.md
	$(BIN)/python -m benchmarks.field
	test -z "$$LCSD_REAL_DATA" || $(BIN)/python -m benchmarks.field_clouds

KILLS ?= 100
SEED ?= 0
reliability: install  ## Kill and resume a small build, compare every byte (KILLS, SEED)
	$(BIN)/python -m benchmarks.reliability.kills $(KILLS) --seed $(SEED)

CASES ?= 100
BROKEN ?= 20
isolation: install  ## Check that broken cases do not affect good ones (CASES, BROKEN)
	$(BIN)/python -m benchmarks.reliability.isolation $(CASES) --broken $(BROKEN)

lint: install  ## Check format, types and the workflow
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/python -m tests.lint_workflow tests/workflow/lint.yaml
	$(BIN)/snakemake --dry-run --quiet --configfile tests/workflow/lint.yaml
	$(BIN)/snakemake --dry-run --quiet --profile workflow/profiles/slurm \
	  --configfile tests/workflow/lint.yaml

structure: install  ## Print the floors of imports and the size of the package
	$(BIN)/python -m tests.structure

format: install  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/snakefmt Snakefile rules

clean:  ## Remove the environment, the demo and all caches
	rm -rf $(VENV) $(TOOLS) demo .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find lcsd tests -name __pycache__ -type d -prune -exec rm -rf {} +
