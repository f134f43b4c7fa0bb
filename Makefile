# make train: install what is missing and run the main job.  make test: the same, then the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
export OMP_NUM_THREADS ?= $(shell getconf _NPROCESSORS_ONLN)

.PHONY: train test kit faults clusters papers docs overhead gpu stubs lint types layers wheel-test check clean

# A virtual environment, made once; packages are installed again only when their list changes.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

train: $(VENV)/.installed
	$(BIN)/python train.py $(ARGS)

# One process for each CPU: every test runs on one thread.
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(OMP_NUM_THREADS) $(ARGS)

# The property kit against every seeded fault, and against false alarms over 1,000 seeds.
kit: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.testing

# Random kills, full disks, random words: what a run survives, in about 10 minutes on 2 CPUs;
# ARGS="atomic kills --runs 4" for a part. Then every bad input as a command of its own.
faults: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults $(ARGS)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bad_input

# Sweeps through a real SLURM and a real Ray cluster of this machine, with a job killed and one
# preempted; what is not installed is skipped with the way to install it. ARGS="slurm" for one.
clusters: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.clusters $(ARGS)

# What the guards of a training cost beside the bare step; an error above 3 %.
overhead: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/overhead.py $(ARGS)

# Published figures beside ours, docs/paper_table.md; the images are in the folder UNFOLD_DATA.
# ROWS="tnrd5_5x5_s25 csf4_3x3_s25" for some rows; what is finished is not run again.
papers: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/papers.py $(if $(ROWS),--rows $(ROWS)) $(ARGS)

# The documentation site, build/docs/html: every block of every page runs, then its pages are built.
# ARGS="--pages tutorial how_to/mri" runs some pages.
docs: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	OMP_NUM_THREADS=1 $(BIN)/python docs/build.py $(ARGS)

# Training, resuming, bf16, evaluation, an equilibrium and every operator on a real GPU.
gpu: $(VENV)/.installed-dev
	$(BIN)/python -m tests.device

# The public names of the package, `unfold/__init__.pyi`; a test fails while it is stale.
stubs: $(VENV)/.installed-dev
	$(BIN)/python -m tests.stubs

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

layers: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/test_layers.py

wheel-test: $(VENV)/.installed-dev
	bash .ci/wheel $(BIN)/python

check: lint types test

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
