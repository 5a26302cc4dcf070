# One target per verb; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

build: $(VENV)/.installed ## Compile the modules of the request path in place
	@flock $(VENV)/.build.lock $(BIN)/python setup.py -q build_ext --inplace
