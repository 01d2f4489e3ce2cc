# One word per action. `make help` lists them.
PYTHON ?= python3
SERVE_ENV := .venv-serve
DEV_ENV := .venv
BIN := $(DEV_ENV)/bin
PIP := -m pip --disable-pip-version-check --quiet install --constraint constraints.txt
PROGRAMS := nginx wrk curl wget aria2c openssl radosgw ceph ceph-mon ceph-osd
PACKAGES := nginx-core wrk curl wget aria2 openssl radosgw ceph-common ceph-mon ceph-osd
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
export ZOOPROXY_DATA_DIR ?= $(CURDIR)/.state
unexport PYTHONDONTWRITEBYTECODE  # tests start interpreters by the hundred: none need compile what another has

.DEFAULT_GOAL := help
.PHONY: help serve test openmmlab components lint format types imports bench fuzz oldtorch mmdet wheel catalog rehearse clean

help:  ## list the actions
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 10

serve: $(SERVE_ENV)/.ready  ## run the proxy on port 8765 (its state lies in .state/)
	@exec $(SERVE_ENV)/bin/zooproxy serve

test: $(DEV_ENV)/.ready openmmlab  ## run every test (PYTEST_ARGS="--cov" measures what they reach, which the gate asks for)
	$(BIN)/python -m pytest -n auto $(PYTEST_ARGS)

openmmlab: .openmmlab/.ready  ## the OpenMMLab packages that tests load weights into

components:  ## the programs that tests and benchmarks run beside Python (Debian packages)
	@PATH="$$PATH:/usr/sbin" which $(PROGRAMS) >/dev/null || { $(SUDO) apt-get -qq update && $(SUDO) apt-get -qq \
	-o DPkg::Lock::Timeout=300 install -y --no-install-recommends $(PACKAGES); }

lint: $(DEV_ENV)/.ready imports  ## style, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

imports: $(DEV_ENV)/.ready  ## the import contract alone
	$(BIN)/lint-imports --no-cache

format: $(DEV_ENV)/.ready  ## put the code in shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(DEV_ENV)/.ready  ## check the types
	$(BIN)/mypy

bench: $(DEV_ENV)/.ready  ## measure; prints ratios (BENCH_ARGS="--smoke serving")
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

fuzz: $(DEV_ENV)/.ready  ## fuzz the readers (FUZZ_ARGS="--seconds 600 file")
	cd tests && $(abspath $(BIN))/python -m fuzz $(FUZZ_ARGS)

oldtorch: $(DEV_ENV)/.ready  ## compare with an old torch (PYTHON_OLD=/path/to/its/python)
	cd tests && $(abspath $(BIN))/python -W ignore -m old_torch $(PYTHON_OLD)

mmdet: .mmdet/.ready $(DEV_ENV)/.ready  ## load weights into real mmdet models (builds mmcv first: a quarter of an hour)
	cd tests && $(abspath $(BIN))/python -W ignore -m real_mmdet ../.mmdet/bin/python

wheel: $(DEV_ENV)/.ready  ## build dist/*.whl
	rm -rf dist
	$(BIN)/python -m build --wheel

catalog: $(DEV_ENV)/.ready  ## is the packaged catalog what its wheels say?
	@mkdir -p dist/wheels
	$(BIN)/zooproxy catalog wheels > dist/wheels.txt
	$(BIN)/python -m pip --disable-pip-version-check download --quiet --no-deps --require-hashes --only-binary :all: \
		--python-version 3.11 --platform manylinux_2_28_x86_64 --requirement dist/wheels.txt --dest dist/wheels
	$(BIN)/zooproxy catalog sync --packaged --check --wheel dist/wheels/*.whl

rehearse: wheel  ## the Dockerfile's steps and the wheel, each in a clean environment
	$(BIN)/python docker/rehearse.py
	$(BIN)/python docker/rehearse.py dist/*.whl

clean:  ## remove environments, state and caches
	rm -rf $(DEV_ENV) $(SERVE_ENV) .openmmlab .mmdet .state dist .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The server's environment holds no torch, and lies apart from the developers': `make serve` and `make test` can be
# started side by side in a fresh clone.
$(SERVE_ENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(SERVE_ENV)
	$(SERVE_ENV)/bin/python $(PIP) --editable '.[server]'
	@touch $@

$(DEV_ENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV_ENV)
	$(DEV_ENV)/bin/python $(PIP) --editable '.[dev]'
	@$(DEV_ENV)/bin/python -W ignore -c 'import yapf'  # keeps its grammar in a file, which two first imports at once spoil
	@touch $@

# Not optimised: nothing here computes with its operators, and mmdet does not begin without them.
.mmdet/.ready: tests/mmdet.txt
	rm -rf .mmdet
	$(PYTHON) -m venv .mmdet
	.mmdet/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	MMCV_WITH_OPS=1 CFLAGS="-O0 -w" .mmdet/bin/python -m pip --disable-pip-version-check --quiet install \
		--no-deps --no-build-isolation --no-binary mmcv mmcv==2.1.0
	.mmdet/bin/python -m pip --disable-pip-version-check --quiet install --no-deps mmdet==3.3.0 torchvision==0.28.0
	@touch $@

.openmmlab/.ready: tests/openmmlab.txt | $(DEV_ENV)/.ready
	rm -rf .openmmlab
	$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --target .openmmlab --requirement $<
	@touch $@
