# Uncovering hidden patterns: every target sets up what it needs; a second call does nothing twice.
PYTHON ?= python3
BIN := .venv/bin
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
DATA ?= data
STRIP := --keep-output --keep-count --keep-id --extra-keys "metadata.papermill cell.metadata.papermill cell.metadata.execution metadata.widgets"
STANDARD := -p scale standard -p dataset imagenette -p image_size 64 -p data_root $(DATA) -p precision bf16 -p patch_size 8 \
	-p epochs 15 -p batch_size 128 -p augment flip -p dim 128 -p depth 6 -p heads 4 -p decoder_dim 64 -p decoder_depth 2 \
	-p decoder_heads 4 -p evaluate_images 500 -p probe_images 2000

.PHONY: help setup report test unit notebooks lint lab rerun publish standard clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.ready  ## the environment in .venv, from requirements.lock

.venv/.ready: requirements.lock pyproject.toml .ci/setup.py
	@$(PYTHON) .ci/setup.py

report: setup  ## run the four notebooks on embedded images and build reports/index.html
	@$(BIN)/python -m lib.report

test: setup lint unit notebooks  ## everything CI checks

unit: setup  ## unit tests
	@$(BIN)/python -m pytest tests

notebooks: setup  ## the notebooks still run and still say what they said
	@$(BIN)/python -m pytest --nbval --nbval-current-env notebooks

lint: setup  ## style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

lab: setup  ## JupyterLab
	@$(BIN)/jupyter lab notebooks

rerun: setup  ## refresh the notebooks' stored outputs
	@for notebook in $(NOTEBOOKS); do echo "$$notebook"; \
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False --log-level WARN $$notebook && \
	$(BIN)/nbstripout $(STRIP) $$notebook || exit 1; done

standard: setup  ## the published runs (about an hour on two cores): make standard DATA=folder-with-imagenette
	@mkdir -p reports/notebooks/standard
	@for seed in 0 1 2; do $(BIN)/papermill notebooks/03_vit_mae.ipynb reports/notebooks/standard/03_vit_mae_$$seed.ipynb \
	--no-progress-bar $(STANDARD) -y "hidden: [512]" -p latent 128 -p seed $$seed || exit 1; done
	@$(BIN)/papermill notebooks/04_masking_strategies.ipynb reports/notebooks/standard/04_masking_strategies.ipynb \
	--no-progress-bar $(STANDARD) -p learning_rate 0.0015 -p model mae -y "ratios: [0.75]" -y "seeds: [0, 1, 2]"

publish: setup  ## tables, figures and README's table from the committed records
	@$(BIN)/python -m lib.publish

clean:  ## remove what runs have made here (records of larger runs stay)
	rm -rf reports/index.html reports/notebooks reports/results/quick reports/figures/quick .pytest_cache .ruff_cache
