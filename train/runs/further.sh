#!/usr/bin/env bash
# Goes on from an adapter, on a CPU: what the embedded policy itself breaks off or says twice is mended under the usual
# objectives, real answers are said in fewer or plainer words where that is asked for, and beside each of these there are
# as many that stay as they are. An hour and a quarter on two cores, after half an hour for the policy's answers.
# Not shipped (train/runs/results-read.md has the counts): it mends more and forgets a little, and SHARE=0.5 of it forgets
# nothing; but what it learnt of short texts it does not do to the policy's own long ones. For a GPU: PART times as many
# rows, CHARACTERS of an answer, LONGEST tokens of a row, BATCH, ACCUMULATE, STEPS (-1: all),
# FIRST_LAYER=0.
# Usage: train/runs/further.sh DATA FROM [OUT]     DATA has pairs/train.jsonl.gz; FROM: an adapter, GGUF or a folder
set -euo pipefail
data=$1 from=$2 out=${3:-build/further} part=${PART:-1}
metaaligner=${METAALIGNER:-.venv/bin/metaaligner}
own=smollm2-135m-instruct
# glibc gives large buffers back to the system after every step and gets them anew: a quarter of the time.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456
mkdir -p "$out"
$metaaligner train answers train/requests.yaml --out "$out/requested.jsonl" --licence Apache-2.0 --in-flight 8
$metaaligner train answers "$data/pairs/train.jsonl.gz" --out "$out/answers.jsonl" --licence Apache-2.0 \
  --limit "${ANSWERS:-3600}" --in-flight 8 \
  --source oasst_qlora --source hh_helpful --source ultrafeedback_1k2 --source oasst_tree100
[ -f "$out/rows.jsonl" ] || $metaaligner train prepare "pairs=$data/pairs/train.jsonl.gz" \
  "answers=$out/requested.jsonl" "answers=$out/answers.jsonl" --out "$out/rows.jsonl" --seed "${SEED:-23}" \
  --take "iterater_human_sent=$((50 * part))" --take "paradetox=$((50 * part))" --take '*=0' \
  --broken-off $((620 * part)) --simplified $((560 * part)) --cleaned $((190 * part)) --kept $((110 * part)) \
  --made $((1250 * part)) \
  --made-from "$own" --made-from oasst_qlora --made-from hh_helpful --made-from oasst_tree100 \
  --longest "${CHARACTERS:-1300}" --longest-context 600
$metaaligner train sft "$out/rows.jsonl" --out "$out/run" --work "$out/base" --from "$from" \
  --template chat --template chat --template chat --template ultrafeedback --rank 32 --first-layer "${FIRST_LAYER:-12}" \
  --learning-rate "${RATE:-3e-4}" --longest "${LONGEST:-900}" --batch "${BATCH:-2}" --accumulate "${ACCUMULATE:-4}" \
  --max-steps "${STEPS:-245}"
$metaaligner train export "$out/run/3-better" --work "$out/base" --gguf "$out/adapter.gguf" \
  ${SHARE:+--blend "$from" --share "$SHARE"}
