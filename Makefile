# Uncovering hidden patterns: every target sets up what it needs; a second call does nothing twice.
PYTHON ?= python3
BIN := .venv/bin
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
STRIP := --keep-output --keep-count --keep-id --extra-keys "metadata.papermill cell.metadata.papermill cell.metadata.execution metadata.widgets"
PROFILE ?= local
# A worker for each core, each file of tests or notebook on one of them; a slow machine is slow, not red.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout 7200 --nbval-kernel-startup-timeout 600

.PHONY: help setup api report demo sweep standard stale test test-browser unit notebooks lint format lab rerun publish soak steady bench clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.ready  ## the environment in .venv, from requirements.lock

.venv/.ready: requirements.lock pyproject.toml .ci/setup.py
	@$(PYTHON) .ci/setup.py

report: setup  ## run the eight notebooks and build reports/index.html
	@$(BIN)/python -m engine.snakemake

demo: setup  ## complete your own picture with the committed model: make demo IMAGE=my.jpg
	@$(BIN)/python -m engine.demo "$(or $(IMAGE),$(error which picture? make demo IMAGE=my.jpg))"

sweep: setup  ## a notebook under a grid of parameters: make sweep SWEEP=masking [PROFILE=local] [DATA=folder]
	@$(BIN)/python -m engine.sweep $(or $(SWEEP),$(error which one? make sweep SWEEP=masking, or another file of sweeps/)) \
	--profile $(PROFILE) $(if $(DATA),--data "$(DATA)")

stale: setup  ## which records the code of today would make otherwise, and why
	@$(BIN)/python -m lib.run.stale

test: setup lint  ## everything CI checks
	@$(PYTEST) $(NBVAL) notebooks tests

test-browser: setup  ## every notebook in JupyterLab, and the page, in Chromium; pictures in reports/screenshots
	@EVERY_NOTEBOOK=1 $(BIN)/python -m pytest tests/test_browser.py

unit: setup  ## unit tests
	@$(PYTEST) tests

notebooks: setup  ## the notebooks still run and still say what they said
	@$(PYTEST) $(NBVAL) notebooks

lint: setup  ## style
	@$(BIN)/ruff check --output-format concise . && $(BIN)/ruff format --diff --quiet . || { echo "style: make format mends most of it"; exit 1; }

format: setup  ## mend style
	@$(BIN)/ruff check --fix-only --quiet . ; $(BIN)/ruff format --quiet .

lab: setup  ## JupyterLab, which opens on the README; the notebooks are in notebooks/
	@JUPYTER_CONFIG_PATH="$(CURDIR)/engine/lab" $(BIN)/jupyter lab --ip=127.0.0.1 \
	--ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/README.md

rerun: setup  ## refresh the notebooks' stored outputs, and the pictures on their first screens
	@for notebook in $(NOTEBOOKS); do echo "$$notebook"; \
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False --CoalesceStreamsPreprocessor.enabled=True --log-level WARN $$notebook && \
	$(BIN)/nbstripout $(STRIP) $$notebook || exit 1; done
	@for picture in docs/pictures/*; do made=reports/figures/quick/$$(basename $$picture); \
	if [ -e $$made ]; then cp $$made $$picture; \
	elif ls $${made%.*}.* 2>/dev/null; then echo "above: what $$picture is called now"; exit 1; fi; done

standard:  ## the longer runs, some eighteen hours with fast bf16: make standard DATA=folder-with-the-sets
	@for sweep in mnist imagenette imagenette-mae length longest strategies cifar10; do \
	$(MAKE) --no-print-directory sweep SWEEP=$$sweep || exit 1; done

publish: setup  ## the published tables, README's and those of docs/speed.md, from what is committed
	@$(BIN)/python -m engine.publish

api: setup  ## pages of every function with its docstring, offline: reports/api/index.html
	@$(BIN)/python -m pdoc lib engine --output-directory reports/api && echo "open reports/api/index.html"

soak: setup  ## some 200 kills and other faults, half an hour; writes reports/tables/soak.csv
	@$(BIN)/python tests/soak.py

steady: setup  ## how much room the notebooks' claims have, over seeds and machines, an hour or two; writes reports/tables/steady.csv
	@$(BIN)/python tests/steady.py

bench: setup  ## training speed of the ViT-MAE beside other projects (pip install -e '.[peers]'); replaces reports/results/bench/cpu.json
	@$(BIN)/python -W ignore -m benchmarks.mae --name cpu

clean:  ## remove pages and quick runs (larger ones, sweeps and states stay)
	rm -rf reports/index.html reports/your_images.html reports/api reports/demo reports/notebooks reports/results/quick reports/claims reports/figures/quick .pytest_cache .ruff_cache
