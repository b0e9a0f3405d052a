#!/usr/bin/env bash
# The adapter for SmolLM2-135M-Instruct, as an editor that reads what it is asked: made pairs and true rewrites, one pass.
# Usage: train/runs/default.sh DATA [OUT]     DATA has pairs/train.jsonl.gz and pairs/eval.jsonl.gz
# PART times as many rows: 1 takes an hour and a half on two cores, and teaches little. The adapter that is shipped had
# PART=17 BATCH=64 ACCUMULATE=1 RATE=1e-3 CHECKPOINTING=--no-checkpointing on one GPU, in four minutes.
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
  --limit $((130 * part)) \
  --source oasst_qlora --source hh_helpful --source ultrafeedback_1k2 --source oasst_tree100
# No identical rows for a warm-up: under `--kept` and beside every change there are as many that stay as they are.
[ -f "$out/rows.jsonl" ] || $metaaligner train prepare "pairs=$data/pairs/train.jsonl.gz" "answers=$out/answers.jsonl" \
  --out "$out/rows.jsonl" --seed "${SEED:-1}" \
  --take "$own=$((13 * part))" --take "iterater_human_sent=$((60 * part))" --take "paradetox=$((25 * part))" \
  --take "safetext=$((8 * part))" --take "lamp_edits=$((7 * part))" --take "fgrlhf_qafeedback=$((2 * part))" --take '*=0' \
  --made $((2000 * part)) --refused $((8 * part)) --answered $((12 * part)) --kept $((125 * part)) \
  --made-from "$own" --made-from oasst_qlora --made-from hh_helpful --made-from oasst_tree100 \
  --longest 1500 --longest-context 1500
$metaaligner train sft "$out/rows.jsonl" --out "$out/run" --work "$out/base" ${FROM:+--from "$FROM"} \
  --template chat --template chat --template chat --template ultrafeedback --rank 32 \
  --learning-rate "${RATE:-5e-4}" --longest "${LONGEST:-1024}" --batch "${BATCH:-2}" --accumulate "${ACCUMULATE:-4}" \
  "${CHECKPOINTING:---checkpointing}"
$metaaligner train export "$out/run/3-better" --work "$out/base" --gguf "$out/adapter.gguf"
[ -z "${NO_RESULTS:-}" ] || exit 0
$metaaligner train judge reward --fit "$data/pairs/train.jsonl.gz" --save "$out/reward.npz" \
  --on "$data/pairs/eval.jsonl.gz" --on "$data/judge_eval/hhh_alignment.jsonl.gz"
ADAPTER=$out/adapter.gguf train/runs/results.sh "$data" "$out"
