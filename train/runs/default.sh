#!/usr/bin/env bash
# The adapter for SmolLM2-135M-Instruct, as an editor: true rewrites and made pairs, one pass, on a CPU.
# Usage: train/runs/default.sh DATA [OUT]     DATA has pairs/train.jsonl.gz and pairs/eval.jsonl.gz
set -euo pipefail
data=$1 out=${2:-build/default}
metaaligner=${METAALIGNER:-.venv/bin/metaaligner}
own=smollm2-135m-instruct
# glibc gives large buffers back to the system after every step and gets them anew: a quarter of the time.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456
mkdir -p "$out"
# What the embedded policy itself says to training queries: its loops and unfinished ends are what there is to mend.
$metaaligner train answers "$data/pairs/train.jsonl.gz" --out "$out/answers.jsonl" --licence Apache-2.0 --limit 176 \
  --source oasst_qlora --source hh_helpful --source ultrafeedback_1k2 --source oasst_tree100
$metaaligner train prepare "pairs=$data/pairs/train.jsonl.gz" "answers=$out/answers.jsonl" --out "$out/rows.jsonl" \
  --take "$own=200" --take iterater_human_sent=250 --take paradetox=260 --take safetext=80 --take '*=0' \
  --made 1200 --identical 160 --refused 160 --answered 40 \
  --made-from "$own" --made-from oasst_qlora --made-from hh_helpful --made-from oasst_tree100 \
  --longest 1300 --longest-context 400
$metaaligner train sft "$out/rows.jsonl" --out "$out/run" --work "$out/base" \
  --template chat --template chat --template chat --template ultrafeedback \
  --learning-rate 2e-4 --longest 640 --batch 2 --accumulate 4
$metaaligner train export "$out/run/3-better" --work "$out/base" --gguf "$out/adapter.gguf"
$metaaligner train judge reward --fit "$data/pairs/train.jsonl.gz" --save "$out/reward.npz" \
  --on "$data/pairs/eval.jsonl.gz" --on "$data/judge_eval/hhh_alignment.jsonl.gz"
ADAPTER=$out/adapter.gguf train/runs/results.sh "$data" "$out"
