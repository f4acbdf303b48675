# The one door: people, hooks and CI call the same targets.
#   make demo    the whole path on MovieLens-100k, from a fresh clone
#   make test    bootstrap, lint, default test suite
#   make test-tfx  the second environment, which has TFX, and its tests
# They need only Python 3.10 to 3.13 (TFX: 3.11 and a C++ compiler) and a package registry.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.10 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
BIN := .venv/bin
WORKDIR ?= build/demo
DEMO_OPTIONS ?=
# A worker takes 1 to 2 GB; the files of the suite stay whole, because their fixtures are shared.
# A worker that crashes ends the run. Tests of the local server have processes of their own.
PYTEST_OPTIONS ?= --numprocesses 2 --dist loadfile --max-worker-restart 0
BEAM_VERSION := $(shell sed -n 's/^apache-beam==//p' constraints.txt)

# The environment with TFX: what it has is in the lock, which names no registry.
PYTHON_TFX ?= $(shell python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null)
TFX_LOCK := pipelines/tfx_dag/environment.lock
TFX_EXTRAS := cli client pipelines report scann serve signing
UV := UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 .boot/bin/uv
# google.api_core, which Beam imports there, says of every Python that it will end some day. Keras 2.16
# draws seeds from whole numbers written as 1e9, once a process has been seeded.
TFX_WARNINGS := -W 'ignore:You are using a Python version:FutureWarning' \
	-W 'ignore:non-integer arguments to randrange:DeprecationWarning'
# What the components run; the rooms of the command line have their tests in the first environment.
TFX_ROOMS := $(addprefix tests/unit/,artifacts closed_form config data evaluation features index layers \
	losses mining preflight ranking specs tables tasks towers training pipelines/stages \
	pipelines/tfx_dag pipelines/transforms serving/bundle serving/graph serving/ops)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-runners sabotage lint format docs benchmark clean
.PHONY: install-tfx test-tfx lock-tfx

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/installed  ## Create .venv and install the pinned packages.

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.10 to 3.13 was found. Install one, or say: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	$(BIN)/python -m compileall -q .venv/lib > /dev/null || true
	@touch $@

demo: install  ## Prepare, train, index, export and evaluate MovieLens-100k; answer one query.
	$(BIN)/twotower demo --workdir $(WORKDIR) $(DEMO_OPTIONS)

test: install lint  ## Lint, then run the default suite.
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m 'not slow and not gpu and not runners and not local_server'
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m 'not slow and not gpu and local_server'

test-all: install lint  ## Also the slow tests.
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m 'not gpu and not runners and not local_server'
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m 'not gpu and local_server'

install-tfx: .venv-tfx/installed  ## Create .venv-tfx, the environment with TFX (a minute, 3.6 GB).

.venv-tfx/installed: pyproject.toml $(TFX_LOCK) | .boot/bin/uv
	$(UV) venv --quiet --clear --python $(PYTHON_TFX) .venv-tfx
	$(UV) pip sync --quiet --require-hashes --python .venv-tfx/bin/python $(TFX_LOCK)
	$(UV) pip install --quiet --no-deps --no-build-isolation --python .venv-tfx/bin/python --editable .
	@touch $@

.boot/bin/uv:
	@test -n "$(PYTHON_TFX)" || { echo "TFX needs Python 3.11, and none was found. Install it, or say: make PYTHON_TFX=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON_TFX) -m venv .boot
	.boot/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8

test-tfx: install install-tfx  ## In that environment: the tests of the TFX pipeline, and of what it runs.
	TWOTOWER_OTHER_PYTHON=$(abspath $(BIN))/python .venv-tfx/bin/python -m pytest $(TFX_WARNINGS) tests/tfx
	.venv-tfx/bin/python -m pytest $(TFX_WARNINGS) $(PYTEST_OPTIONS) -m 'not slow and not gpu and not local_server' $(TFX_ROOMS)

lock-tfx: .boot/bin/uv  ## Write the lock of that environment anew, after a dependency changed.
	$(UV) pip compile --quiet --generate-hashes --no-annotate --no-header --no-emit-index-url \
		--python $(PYTHON_TFX) $(addprefix --extra ,$(TFX_EXTRAS)) --output-file $(TFX_LOCK) \
		pyproject.toml pipelines/tfx_dag/environment.in

test-runners: install build/engines/prism  ## Compare the artifacts of every Beam engine, byte for byte (needs Go).
	$(BIN)/python -m pytest tests/integration/test_runners.py

# Prism, Beam's Go engine, at the version of the Python package.
build/engines/prism: constraints.txt
	@command -v go > /dev/null || { echo "Prism is built from Beam's Go module, and there is no 'go' on the PATH. Install Go (1.21 or later fetches the version that Beam asks for), or put a prism of Beam $(BEAM_VERSION) at $@."; exit 2; }
	GOBIN='$(CURDIR)/build/engines' go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(BEAM_VERSION)
	@touch $@

sabotage: install  ## Put each known fault into a copy; a test must notice it (half an hour).
	$(BIN)/python -m tests.sabotage --jobs 2

lint: install  ## Style, types, import contracts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install  ## Rewrite the code in the project's style.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install  ## Regenerate the schemas, the key reference and the notebook.
	$(BIN)/python -m pipelines.documentation
	$(BIN)/python -m tests.packaging.notebook

benchmark: install  ## Quality of MovieLens-100k over five seeds (data as `twotower dataset` puts it).
	$(BIN)/twotower compare pipelines/configs/movielens_100k.yaml --workdir build/benchmark --seeds 5

clean:  ## Remove build output, caches and the virtual environment.
	rm -rf .venv .venv-tfx .boot build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
