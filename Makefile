# Each target makes its own .venv the first time: PYTHON=python3.12 make demo uses another interpreter.
PYTHON ?= python3
WORKERS ?= 2
SECONDS ?= 600
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready
MODELS_VENV := .venv-models
MODELS_READY := $(MODELS_VENV)/.ready
GPU_VENV := .venv-gpu
PEERS := .cache/peers

.PHONY: demo test fuzz models gpu mutations peers lint docs clean

demo: $(READY)  ## test two models, module by module, and record traces for TensorBoard
	$(BIN)/ttprof run examples/quickstart.py examples/minilm.py
	@echo
	@echo "Now look at it:  $(BIN)/ttprof view   (TensorBoard on 127.0.0.1:6006, tab TTPROF)"

test: $(READY)  ## run the test suite, in WORKERS processes
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

fuzz: $(READY)  ## fuzz the readers for SECONDS, and run the long sweeps of damaged traces; findings are in fuzz-findings/
	PYTHONPATH=tests $(BIN)/python -m fuzz.run --seconds $(SECONDS) --workers $(WORKERS)
	$(BIN)/python -m pytest -n $(WORKERS) -m fuzz

models: $(MODELS_READY)  ## test every module of models of many families
	$(MODELS_VENV)/bin/python -m pytest -m "models or not models" tests/models

# PYTHON is an interpreter with torch for the GPU; WHEELS is a folder with what it lacks. No network is needed.
gpu:  ## on a machine with a GPU: check every metric of it, and write gpu-report/
	$(PYTHON) tests/gpu/prepare.py --venv $(GPU_VENV) $(if $(WHEELS),--wheels '$(WHEELS)')
	$(GPU_VENV)/bin/python -m gpu.kit

mutations: $(READY)  ## print the injected defects and the checks that catch them
	PYTHONPATH=tests $(BIN)/python tests/mutations/table.py

peers: $(PEERS)/webcomponents.js-0.7.24.tgz $(PEERS)/pytest-8.4.0.tar.gz  ## fetch files that some tests compare with

lint: $(READY)  ## run ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DOCS_READY)  ## build the documentation site in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open site/index.html, or with search: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site"

clean:  ## remove the environment, caches and recorded runs
	rm -rf $(VENV) $(MODELS_VENV) $(GPU_VENV) gpu-report fuzz-findings site .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find traces -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,lint]"
	touch $(READY)

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $(DOCS_READY)

# Their own environment: with torch for CPUs, torchvision from PyPI makes transformers fail to import.
$(MODELS_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(MODELS_VENV)
	$(MODELS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(MODELS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,models]"
	touch $(MODELS_READY)

# Fetched, never installed: a polyfill that the page of torch-tb-profiler loads, and the JUnit schema in pytest's sources.
$(PEERS)/webcomponents.js-%.tgz:
	mkdir -p $(PEERS)
	cd $(PEERS) && npm pack --silent webcomponents.js@$*

$(PEERS)/pytest-%.tar.gz: | $(READY)
	mkdir -p $(PEERS)
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary pytest --dest $(PEERS) pytest==$*
