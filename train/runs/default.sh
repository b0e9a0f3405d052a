#!/usr/bin/env bash
# The adapter for SmolLM2-135M-Instruct, as an editor: true rewrites and made pairs, one pass, on a CPU.
# Usage: train/runs/default.sh DATA [OUT]     DATA has pairs/train.jsonl.gz and pairs/eval.jsonl.gz
set -euo pipefail
data=$1 out=${2:-build/default}
metaaligner=${METAALIGNER:-.venv/bin/metaaligner}
# glibc gives large buffers back to the system after every step and gets them anew: a third of the time.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456
$metaaligner train prepare "pairs=$data/pairs/train.jsonl.gz" --out "$out/rows.jsonl" \
  --take iterater_human_sent=350 --take paradetox=300 --take '*=0' --made 2000 --identical 240 \
  --made-from oasst_qlora --made-from hh_helpful --made-from oasst_tree100 --longest 800 --longest-context 320
$metaaligner train sft "$out/rows.jsonl" --out "$out/run" --work "$out/base" --stage better \
  --template chat --template chat --template chat --template ultrafeedback \
  --learning-rate 1.2e-4 --longest 420 --max-steps "${STEPS:-140}"
$metaaligner train export "$out/run/1-better" --work "$out/base" --gguf "$out/adapter.gguf"
$metaaligner train evaluate "$data/pairs/eval.jsonl.gz" --out "$out/plain"
$metaaligner train evaluate "$data/pairs/eval.jsonl.gz" --out "$out/trained" --adapter "$out/adapter.gguf"
