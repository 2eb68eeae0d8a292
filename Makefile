# make demo   sentences from a bare clone    make test      the tests         make battery   proof of every sampler
# make check  lint and types                 make slow      the slow tests    make soak      kills and resumes, an hour
# make clean  remove .venv and runs              make benchmark speed beside the floor
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test battery benchmark check slow soak clean

demo: .venv/installed
	$(BIN)/mcmc-text gibbs

test: .venv/installed-dev
	$(BIN)/pytest -q -n auto --maxprocesses 4

slow: .venv/installed-dev
	$(BIN)/pytest -q -n auto --maxprocesses 4 -m slow

battery: .venv/installed
	$(BIN)/python -m samplers.testing.battery

benchmark: .venv/installed
	$(BIN)/mcmc-text benchmark

soak: .venv/installed
	$(BIN)/python -m tests.soak

check: .venv/installed-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy samplers

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; try make PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv runs
