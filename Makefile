# make demo: install, then run the demo drive.   make test: install, then run the tests.
PYTHON ?= python3
# Where torch's CPU build is; elsewhere than on Linux x86-64 the package index has it anyway.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_VERSION := 2.13.0

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
# --no-compile: of some 16,000 files a run imports few; Python compiles those when it does.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-compile
INTERFACE_SOURCES := $(wildcard interfaces/*.py interfaces/*.toml interfaces/*/package.xml interfaces/*/msg/*.msg)

.PHONY: setup demo test lint clean
.DELETE_ON_ERROR:

setup: $(STAMPS)/package $(STAMPS)/ros

demo: setup
	$(BIN)/vision-nodes demo

test: setup $(STAMPS)/test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMPS)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info interfaces/build interfaces/*.egg-info .pytest_cache .ruff_cache .mypy_cache

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "expected Python 3.10 or newer; received %s; remedy: make PYTHON=python3.11" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS)
	@touch $@

# The check runs first: a missing compiler should be named before a minute of downloads, not after.
$(STAMPS)/package: $(STAMPS)/venv pyproject.toml setup.py setup.cfg
	@$(BIN)/python interfaces/install.py --check
	$(PIP_INSTALL) 'setuptools>=77' numpy
	$(PIP_INSTALL) --no-build-isolation --editable '.[demo]'
	@touch $@

$(STAMPS)/ros: $(STAMPS)/package $(INTERFACE_SOURCES)
	$(BIN)/python interfaces/install.py
	@touch $@

# --no-deps for torch: TORCH_INDEX is asked for torch alone, everything else comes from the usual index.
$(STAMPS)/test: $(STAMPS)/package
	$(BIN)/python -c 'import torch' 2>/dev/null \
	  || $(PIP_INSTALL) --no-deps --retries 1 --extra-index-url '$(TORCH_INDEX)' 'torch==$(TORCH_VERSION)+cpu' \
	  || $(PIP_INSTALL) --no-deps 'torch==$(TORCH_VERSION)'
	$(PIP_INSTALL) --no-build-isolation --editable '.[demo,train,search,test]'
	@touch $@

$(STAMPS)/lint: $(STAMPS)/package
	$(PIP_INSTALL) --no-build-isolation --editable '.[demo,test,lint]'
	@touch $@
