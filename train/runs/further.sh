#!/usr/bin/env bash
# Goes on from an adapter, on a CPU: answers that break off are ended, what a policy says twice is taken out, all under
# the usual objectives; real answers are said in fewer or plainer words where that is asked for; and beside each of these
# there are as many that stay as they are. TAKES on two cores, after a quarter of an hour for the policy's answers.
# Usual for a GPU: PART times as many rows, ANSWERS, LONGEST tokens of a row, BATCH, ACCUMULATE, FIRST_LAYER=0.
# SHARE: export it blended with FROM.
# Usage: train/runs/further.sh DATA FROM [OUT]     DATA has pairs/train.jsonl.gz; FROM: an adapter, GGUF or a folder
set -euo pipefail
data=$1 from=$2 out=${3:-build/further} part=${PART:-1}
metaaligner=${METAALIGNER:-.venv/bin/metaaligner}
own=smollm2-135m-instruct
# glibc gives large buffers back to the system after every step and gets them anew: a quarter of the time.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456
mkdir -p "$out"
$metaaligner train answers "$data/pairs/train.jsonl.gz" --out "$out/answers.jsonl" --licence Apache-2.0 \
  --limit "${ANSWERS:-600}" --in-flight 8 \
  --source oasst_qlora --source hh_helpful --source ultrafeedback_1k2 --source oasst_tree100
[ -f "$out/rows.jsonl" ] || $metaaligner train prepare "pairs=$data/pairs/train.jsonl.gz" \
  "answers=$out/answers.jsonl" --out "$out/rows.jsonl" --seed "${SEED:-31}" \
  --take "iterater_human_sent=$((40 * part))" --take "paradetox=$((40 * part))" --take '*=0' \
  --broken-off $((380 * part)) --simplified $((100 * part)) --cleaned $((70 * part)) --kept $((120 * part)) \
  --made $((520 * part)) --made-from "$own" --made-from oasst_qlora --made-from oasst_tree100 \
  --longest "${CHARACTERS:-1700}" --longest-context 600
$metaaligner train sft "$out/rows.jsonl" --out "$out/run" --work "$out/base" --from "$from" \
  --template chat --template chat --template chat --template ultrafeedback --rank 32 --first-layer "${FIRST_LAYER:-12}" \
  --learning-rate "${RATE:-2e-4}" --longest "${LONGEST:-900}" --batch "${BATCH:-2}" --accumulate "${ACCUMULATE:-4}" \
  --max-steps "${STEPS:--1}"
$metaaligner train export "$out/run/3-better" --work "$out/base" --gguf "$out/adapter.gguf" \
  ${SHARE:+--blend "$from" --share "$SHARE"}
