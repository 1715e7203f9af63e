# Every target sets up what it needs, on a fresh machine with Python 3.11 to 3.13 and pip.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Not "demo" and "test" folders: the targets are always made anew.
.PHONY: demo test check format clean

# One stamp for each set of packages: made again when the dependencies change.
$(VENV)/.demo: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	touch $@

$(VENV)/.test: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

# The main job on real images, offline: 2,624 solar cells (CC BY-NC-SA 4.0, from PyPI).
demo: $(VENV)/.demo
	$(BIN)/python -m kerastl.fit demo:solar:P1 --image-size 300 --augment mirrors --fine-tune-epochs 6 \
	    --val-fraction 0.1 --test-fraction 0.25 --export

# Format, lint, types, then all tests (the import rules, docstrings and doctests are tests).
test: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q --numprocesses 2 --dist worksteal

format: $(VENV)/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache
