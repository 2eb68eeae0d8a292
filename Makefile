# make demo    sentences from a bare clone       make check      lint, format, types
# make quick   tests, under a minute             make battery    proof of every sampler, two minutes
# make test    all tests but the slow ones       make slow       the slow tests
# make docs    the pages, in build/docs          make golden     draws beside those recorded
# make soak    kills and resumes, an hour        make benchmark  speed beside the floor
# make ci      check, test, docs                 make mutation   faults that no test sees, hours
# make clean   remove .venv, build and runs
PYTHON ?= python3
BIN := .venv/bin
# Workers of pytest are the parallel part: one thread each, also in the processes that tests start.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --maxprocesses 4
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo quick test slow battery check docs golden soak mutation benchmark ci clean

demo: .venv/installed
	$(BIN)/mcmc-text gibbs
	@printf '\nNow: source .venv/bin/activate && mcmc-text --help\n'

quick: .venv/installed-dev
	$(PYTEST) @tests/quick.txt

test: .venv/installed-dev
	$(PYTEST)

slow: .venv/installed-dev
	$(PYTEST) -m slow

battery: .venv/installed
	$(BIN)/python -m samplers.testing.battery

check: .venv/installed-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: .venv/installed-dev
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going -b html docs build/docs
	@echo build/docs/index.html

golden: .venv/installed-dev
	$(BIN)/python -m tests.golden

mutation: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation

soak: .venv/installed
	$(BIN)/python -m tests.soak

benchmark: .venv/installed
	$(BIN)/mcmc-text benchmark

ci: check test docs

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; try make PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(INSTALL) .
	touch $@

.venv/installed-dev: .venv/installed
	$(INSTALL) '.[data,dev,docs,plots,ui]'
	touch $@

clean:
	rm -rf .venv build runs
