# Each target makes its own .venv the first time: PYTHON=python3.12 make demo uses another interpreter.
PYTHON ?= python3
WORKERS ?= 2
KILLS ?= 20
SECONDS ?= 600
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MODELS_VENV := .venv-models
MODELS_READY := $(MODELS_VENV)/.ready
GPU_VENV := .venv-gpu
TOOLS_VENV := .venv-tools
TOOLS_READY := $(TOOLS_VENV)/.ready
PEERS := .cache/peers

# Versions and hashes for every Python and platform. make test LOCK= installs the newest versions instead, unchecked.
LOCK ?= requirements/ci.lock
TOOLS_LOCK := requirements/tools.lock
# Not locked by hash: the same release is one file with CUDA and another one without, from another index. What it needs
# is in the lock, but for its CUDA libraries (requirements/torch-cuda.txt).
TORCH := $(shell grep '^torch==' constraints.txt)
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
COMPILE = UV_PYTHON_DOWNLOADS=never $(TOOLS_VENV)/bin/uv pip compile --quiet $(UPGRADE) \
	--universal --python-version 3.10 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock'

.PHONY: demo test fuzz faults models gpu mutations peers lint docs dist audit lock clean

demo: $(READY)  ## test two models, module by module, and record traces for TensorBoard
	$(BIN)/ttprof run examples/quickstart.py examples/minilm.py
	@echo
	@echo "Now look at it:  $(BIN)/ttprof view   (TensorBoard on 127.0.0.1:6006, tab TTPROF)"

test: $(READY)  ## run the test suite, in WORKERS processes
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

fuzz: $(READY)  ## fuzz the readers for SECONDS, and run the long sweeps of damaged traces; findings are in fuzz-findings/
	PYTHONPATH=tests $(BIN)/python -m fuzz.run --seconds $(SECONDS) --workers $(WORKERS)
	$(BIN)/python -m pytest -n $(WORKERS) -m fuzz

faults: $(READY)  ## print the injected faults, what happened and what was kept; then kill runs at random moments
	PYTHONPATH=tests $(BIN)/python tests/faults/table.py
	$(BIN)/python tests/faults/kills.py --kills $(KILLS)

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

docs: $(READY)  ## build the documentation site in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open site/index.html, or with search: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site"

dist: $(TOOLS_READY)  ## build the wheel and the sdist in dist/, check them, and run the quick start from the wheel
	rm -rf dist
	$(TOOLS_VENV)/bin/python -m build --no-isolation
	$(TOOLS_VENV)/bin/python -m twine check --strict dist/*
	$(PYTHON) tests/distribution/check.py dist

audit: $(READY) $(TOOLS_READY)  ## look up known vulnerabilities of what is installed (needs the network)
	$(TOOLS_VENV)/bin/pip-audit --skip-editable --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	$(TOOLS_VENV)/bin/pip-audit --local

# It keeps the versions that are locked and still fit; make lock UPGRADE=--upgrade takes the newest.
lock: $(TOOLS_READY)  ## write the lock files again, after a change of requirements/ or of the extras
	$(COMPILE) --extra test --extra lint --extra docs pyproject.toml requirements/ci.in \
		--no-emit-package torch --excludes requirements/torch-cuda.txt --output-file requirements/ci.lock
	$(COMPILE) requirements/tools.in --output-file $(TOOLS_LOCK)

clean:  ## remove the environments, caches, distributions and recorded runs
	rm -rf $(VENV) $(MODELS_VENV) $(GPU_VENV) $(TOOLS_VENV) gpu-report fuzz-findings site dist .cache
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find traces -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt $(LOCK)
	$(PYTHON) -m venv $(VENV)
ifneq ($(LOCK),)
	$(BIN)/python $(PIP_INSTALL) --require-hashes --no-deps -r $(LOCK)
	$(BIN)/python $(PIP_INSTALL) $(TORCH)
	$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip --disable-pip-version-check check
else
	$(BIN)/python $(PIP_INSTALL) -e ".[test,lint,docs]"
endif
	touch $(READY)

$(TOOLS_READY): $(TOOLS_LOCK)
	$(PYTHON) -m venv $(TOOLS_VENV)
	$(TOOLS_VENV)/bin/python $(PIP_INSTALL) --require-hashes --no-deps -r $(TOOLS_LOCK)
	touch $(TOOLS_READY)

# Their own environment: with torch for CPUs, torchvision from PyPI makes transformers fail to import.
$(MODELS_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(MODELS_VENV)
	$(MODELS_VENV)/bin/python $(PIP_INSTALL) -c constraints.txt torch
	$(MODELS_VENV)/bin/python $(PIP_INSTALL) -c constraints.txt -e ".[test,models]"
	touch $(MODELS_READY)

# Fetched, never installed: a polyfill that the page of torch-tb-profiler loads, and the JUnit schema in pytest's sources.
$(PEERS)/webcomponents.js-%.tgz:
	mkdir -p $(PEERS)
	cd $(PEERS) && npm pack --silent webcomponents.js@$*

$(PEERS)/pytest-%.tar.gz: | $(READY)
	mkdir -p $(PEERS)
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary pytest --dest $(PEERS) pytest==$*
