# make demo   does the class's job for real and executes the notebooks: build/demo
# make lab    opens JupyterLab on the notebooks
# make test   runs the tests; TESTS=tests/spec only those
# make check  style, types and the rules between the rooms
# make soak   kills what keeps containers, 200 times, and hurts the store, 500 times
# make fuzz   gives spoilt images, archives and names to what reads them, for ten minutes
# make bench  measures; the figures go to bench/; BENCH='--only build' a part alone
# make clean  takes away what all of these made
#
# Each makes its own virtual environment in .venv first; PYTHON=python3.12 chooses another Python.

SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
LOG := build/venv.log
# Copied into the environment: a kernel, and colours for JupyterLab.
DATA := $(shell find share -type f)

# Nothing is to be written outside of the clone, pip's downloads included.
export PIP_CACHE_DIR := $(CURDIR)/build/pip-cache
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PYTHONNOUSERSITE := 1

.PHONY: help demo lab test check soak fuzz bench clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed '/^$$/q'

demo: $(VENV)/.class
	@$(PY) tools/demo.py

lab: $(VENV)/.class
	@root=; [ "$$(id -u)" != 0 ] || root=--allow-root; \
	exec $(PY) -m jupyterlab --ServerApp.root_dir=notebooks $$root

test: $(VENV)/.test
	@$(PY) -m pytest $(TESTS)

check: $(VENV)/.test
	@$(PY) -m ruff check --output-format concise
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

soak: $(VENV)/.class
	@$(PY) tools/soak.py --result bench/soak.json
	@$(PY) tools/soak.py --network bridge --result bench/soak-networks.json
	@$(PY) tools/soak_store.py --result bench/soak-store.json
	@$(PY) tools/soak_crowd.py --result bench/soak-crowd.json
	@$(PY) tools/soak_images.py --result bench/soak-images.json
	@$(PY) tools/soak_api.py --result bench/soak-api.json

fuzz: $(VENV)/.test
	@$(PY) tests/fuzz/fuzzing.py

bench: $(VENV)/.class
	@$(PY) bench/run.py $(BENCH)

clean:
	@[ ! -x $(PY) ] || $(PY) tools/demo.py --wipe 2>/dev/null || true
	rm -rf build $(VENV) ocimagic.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis \
		.import_linter_cache
	@find ocimagic tests tools bench -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.class: setup.cfg pyproject.toml $(DATA) | $(PY)
	@echo "Installing ocimagic and JupyterLab into $(VENV): once, it may take some minutes."
	@$(PY) -m pip install --quiet --editable '.[class]'
	@touch $@

$(VENV)/.test: setup.cfg pyproject.toml $(DATA) | $(PY)
	@echo "Installing ocimagic and what its tests need into $(VENV): once, it may take some minutes."
	@$(PY) -m pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/.class

# Debian keeps ensurepip in a package of its own: without it, another pip may fill the new
# environment, or virtualenv may make it.
$(PY):
	@mkdir -p build && : >$(LOG)
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "There is no $(PYTHON) here. ocimagic needs Python 3.11 or newer;" >&2; \
		echo "name yours: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "ocimagic needs Python 3.11 or newer; this is $$("$(PYTHON)" --version)." >&2; \
		echo "Name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@rm -rf $(VENV); \
	"$(PYTHON)" -m venv $(VENV) >>$(LOG) 2>&1 || { rm -rf $(VENV); \
		"$(PYTHON)" -m venv --without-pip $(VENV) && \
		"$(PYTHON)" -m pip --python $(PY) install pip; } >>$(LOG) 2>&1 || { rm -rf $(VENV); \
		"$(PYTHON)" -m virtualenv $(VENV); } >>$(LOG) 2>&1 || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment ($(LOG) says why)." >&2; \
		echo "On Debian and Ubuntu: apt install python3-venv. Then try again." >&2; exit 1; }
