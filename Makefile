# One target per verb; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Tests of what is the same in both forms: never compiled, or only compiled. They run once, with the compiled suite.
SAME_IN_BOTH := benchmarks docs e2e/abuse e2e/attacks e2e/discovery e2e/explain e2e/faults e2e/health e2e/proofs e2e/soak discovery proxy/admin proxy/cli proxy/config proxy/control proxy/kernel proxy/plan proxy/simulation \
    proxy/stats test_demo.py test_suite.py

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test build pure-tree pure sanitize lint types attacks bench compare compare-dns overload proofs soak faults fuzz docs image-check clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## Start hivemesh with three small backends, send traffic, say what happened (ONCE=1: then exit)
	@$(BIN)/python examples/demo/demo.py

test: build pure-tree ## Everything CI runs: lint, types, packaging, the tests interpreted and compiled
	@echo "== everything, two jobs at a time; each is shown when it is done (build/*.log)"
	@$(BIN)/python tools/suite.py $(SAME_IN_BOTH)

build: $(VENV)/.installed ## Compile the modules of the request path in place (only what changed)
	@flock $(VENV)/.build.lock $(BIN)/python setup.py -q build_ext --inplace

pure-tree: $(VENV)/.installed
	@flock $(VENV)/.pure.lock $(BIN)/python tools/pure_tree.py build/pure

pure: pure-tree ## Run the tests of compiled modules in build/pure, where only the kernels are compiled
	@echo "== tests, interpreted"
	@cd build/pure && $(abspath $(BIN))/python -m pytest $(SAME_IN_BOTH:%=--ignore=tests/%)

sanitize: $(VENV)/.installed ## All tests with every module built under AddressSanitizer and UBSan, in build/sanitized (ARGS of pytest)
	@flock $(VENV)/.sanitized.lock $(BIN)/python tools/sanitized.py --result benchmarks/results/sanitize.json $(ARGS)

lint: $(VENV)/.installed ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.installed ## Check types
	@$(BIN)/mypy
	@$(BIN)/mypy --strict conftest.py tools examples/demo

bench: build ## Time single rules and kernels
	@$(BIN)/python -m pytest benchmarks/micro --benchmark-only

compare-dns: build ## Measure the DNS server beside Knot, unbound and dnsmasq (ARGS as of compare)
	@$(BIN)/python -m benchmarks.compare --works dns $(ARGS)

compare: build ## Measure hivemesh beside HAProxy, nginx and Envoy (ARGS=--smoke: only see that all of it runs)
	@$(BIN)/python -m benchmarks.compare $(ARGS)

overload: build ## Measure p99 at four times the load and in a storm of health, beside HAProxy (ARGS as of compare)
	@$(BIN)/python -m benchmarks.compare --works overload,health_storm $(ARGS)

proofs: build ## Show under load what docs/reliability.md promises, about fifty minutes (ARGS=--short: seconds each)
	@$(BIN)/python -m benchmarks.proofs $(ARGS)

attacks: build ## Malformed and smuggling-style HTTP against hivemesh, HAProxy, nginx and Envoy (ARGS="--peers A,B --cases TEXT")
	@$(BIN)/python -m benchmarks.attacks $(ARGS)

soak: build ## Mixed traffic for an hour while everything fails in turn (ARGS="--minutes N --seed S")
	@$(BIN)/python -m benchmarks.soak $(ARGS)

fuzz: build ## Fuzz parsers and kernels, ten million executions each (needs clang and atheris; ARGS="TARGET --executions N")
	@$(BIN)/python -m fuzz $(ARGS)

faults: build ## Let every n-th system call fail under every script, about an hour (ARGS="--scripts get --calls read")
	@$(BIN)/python -m benchmarks.faults $(ARGS)

docs: build ## Write the tables of the documentation that tests compare with what the program does
	@UPDATE_DOCS=1 $(BIN)/python -m pytest tests/docs/test_dns.py

image-check: build ## Carry out the steps of the Dockerfile without a container engine
	@$(BIN)/python tools/check_image.py

clean: ## Remove what was built (the virtual environment stays)
	@rm -rf build dist *.egg-info
	@find discovery mesh proxy \( -name '*.so' -o -name '*.c' -o -name '__pycache__' \) -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml
	@PYTHON="$(PYTHON)" tools/setup_venv.sh $(VENV)
