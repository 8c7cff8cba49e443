# Uncovering hidden patterns: every target sets up what it needs; a second call does nothing twice.
PYTHON ?= python3
BIN := .venv/bin
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
STRIP := --keep-output --keep-count --keep-id --extra-keys "metadata.papermill cell.metadata.papermill cell.metadata.execution metadata.widgets"
PROFILE ?= local

.PHONY: help setup report sweep standard stale test unit notebooks lint lab rerun publish soak bench clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.ready  ## the environment in .venv, from requirements.lock

.venv/.ready: requirements.lock pyproject.toml .ci/setup.py
	@$(PYTHON) .ci/setup.py

report: setup  ## run the five notebooks on embedded images and build reports/index.html
	@$(BIN)/python -m lib.engine

sweep: setup  ## a notebook under a grid of parameters: make sweep SWEEP=masking [PROFILE=local] [DATA=folder]
	@$(BIN)/python -m lib.sweeps $(or $(SWEEP),$(error which one? make sweep SWEEP=masking, or another file of sweeps/)) \
	--profile $(PROFILE) $(if $(DATA),--data "$(DATA)")

stale: setup  ## which records the code of today would make otherwise, and why
	@$(BIN)/python -m lib.stale

test: setup lint unit notebooks  ## everything CI checks

unit: setup  ## unit tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests

notebooks: setup  ## the notebooks still run and still say what they said
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --nbval --nbval-current-env notebooks

lint: setup  ## style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

lab: setup  ## JupyterLab
	@$(BIN)/jupyter lab notebooks

rerun: setup  ## refresh the notebooks' stored outputs
	@for notebook in $(NOTEBOOKS); do echo "$$notebook"; \
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False --log-level WARN $$notebook && \
	$(BIN)/nbstripout $(STRIP) $$notebook || exit 1; done

standard:  ## the published runs (about an hour on two cores): make standard DATA=folder-with-imagenette
	@$(MAKE) --no-print-directory sweep SWEEP=families
	@$(MAKE) --no-print-directory sweep SWEEP=strategies

publish: setup  ## tables, figures and README's table from the committed records
	@$(BIN)/python -m lib.publish

soak: setup  ## some 200 kills and other faults, half an hour; writes reports/tables/soak.csv
	@$(BIN)/python tests/soak.py

bench: setup  ## training speed of the ViT-MAE beside other projects (pip install -e .[peers] for them)
	@$(BIN)/python -W ignore -m benchmarks.mae --name cpu

clean:  ## remove what runs have made here (records of larger runs stay)
	rm -rf reports/index.html reports/notebooks reports/results/quick reports/figures/quick .pytest_cache .ruff_cache
