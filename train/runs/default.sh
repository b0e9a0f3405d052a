#!/usr/bin/env bash
# The adapter for SmolLM2-135M-Instruct, as an editor: true rewrites and made pairs, one pass, on a CPU.
# Usage: train/runs/default.sh DATA [OUT]     DATA has pairs/train.jsonl.gz and pairs/eval.jsonl.gz
# PART times as many rows: 1 takes an hour on two cores. On a GPU, say, PART=10 BATCH=16 ACCUMULATE=1 LONGEST=1024.
# FROM: an adapter to go on with. SEED: other rows. NO_RESULTS=1: leaves out what it is worth, which takes longer.
set -euo pipefail
data=$1 out=${2:-build/default} part=${PART:-1}
metaaligner=${METAALIGNER:-.venv/bin/metaaligner}
own=smollm2-135m-instruct
# glibc gives large buffers back to the system after every step and gets them anew: a quarter of the time.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456
mkdir -p "$out"
# What the embedded policy itself says to training queries: its loops and unfinished ends are what there is to mend.
$metaaligner train answers "$data/pairs/train.jsonl.gz" --out "$out/answers.jsonl" --licence Apache-2.0 \
  --limit $((176 * part)) \
  --source oasst_qlora --source hh_helpful --source ultrafeedback_1k2 --source oasst_tree100
[ -f "$out/rows.jsonl" ] || $metaaligner train prepare "pairs=$data/pairs/train.jsonl.gz" "answers=$out/answers.jsonl" \
  --out "$out/rows.jsonl" --seed "${SEED:-1}" \
  --take "$own=$((200 * part))" --take "iterater_human_sent=$((150 * part))" --take "paradetox=$((120 * part))" \
  --take "safetext=$((40 * part))" --take '*=0' \
  --made $((1000 * part)) --identical $((80 * part)) --refused $((60 * part)) --answered $((40 * part)) \
  --kept $((100 * part)) \
  --made-from "$own" --made-from oasst_qlora --made-from hh_helpful --made-from oasst_tree100 \
  --longest 1000 --longest-context 300
$metaaligner train sft "$out/rows.jsonl" --out "$out/run" --work "$out/base" ${FROM:+--from "$FROM"} \
  --template chat --template chat --template chat --template ultrafeedback \
  --learning-rate 2e-4 --longest "${LONGEST:-512}" --batch "${BATCH:-2}" --accumulate "${ACCUMULATE:-4}"
$metaaligner train export "$out/run/3-better" --work "$out/base" --gguf "$out/adapter.gguf"
[ -z "${NO_RESULTS:-}" ] || exit 0
$metaaligner train judge reward --fit "$data/pairs/train.jsonl.gz" --save "$out/reward.npz" \
  --on "$data/pairs/eval.jsonl.gz" --on "$data/judge_eval/hhh_alignment.jsonl.gz"
ADAPTER=$out/adapter.gguf train/runs/results.sh "$data" "$out"
