.PHONY: help test integration_tests lint format type api_reference pictures

PYTHON ?= python
TEST ?=

help:
	@echo "test               run the unit tests (TEST=path for some of them)"
	@echo "integration_tests  run the fast tests over sockets (TEST=path for some of them)"
	@echo "lint               run ruff and mypy"
	@echo "format             format the code, and fix what ruff can fix"
	@echo "type               run mypy"
	@echo "api_reference      build the API reference into build/api"
	@echo "pictures           draw the pictures of the README"

test:
	$(PYTHON) -m pytest $(or $(TEST),tests/unit_tests)

integration_tests:
	$(PYTHON) -m pytest -m "not slow" $(or $(TEST),tests/integration_tests tests/faults)

lint: type
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

type:
	$(PYTHON) -m mypy

api_reference:
	$(PYTHON) .ci/api_reference.py build/api

pictures:
	$(PYTHON) .ci/pictures.py
