# `make demo` runs the quickstart, `make test` all checks; both from a bare clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LAB := hatch_build.py $(wildcard labextension/*.json labextension/*.mjs labextension/src/*.ts \
	labextension/src/page/*.ts labextension/style/* labextension/schema/*.json jupyter_remote/notebook/card.*)

.PHONY: demo test test-gpu check benchmark clean

demo: $(VENV)/.demo
	@$(BIN)/python notebooks/show.py notebooks/quickstart.ipynb
	@echo
	@echo "The same in JupyterLab:  $(BIN)/jupyter lab notebooks/quickstart.ipynb"

test: $(VENV)/.test
	$(MAKE) check
	@if command -v chromium >/dev/null || [ "$$(id -u)" = 0 ] && tests/browser/install; \
	then tests/run $(BIN)/pytest; \
	else echo "No chromium here: the tests in a browser are left out."; \
	     tests/run $(BIN)/pytest --ignore=tests/browser; fi

test-gpu: $(VENV)/.test
	$(BIN)/pip install --quiet torch
	$(BIN)/pytest tests/gpu

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if [ -d labextension/node_modules ]; then npm --prefix labextension test; \
	else echo "No npm here: the tests of the extension's parts are left out."; fi

benchmark: $(VENV)/.test
	$(BIN)/pip install --quiet -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/run.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml $(LAB) | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml $(LAB) | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf labextension/lib labextension/node_modules jupyter_remote/labextension jupyter_remote/server/page_files
