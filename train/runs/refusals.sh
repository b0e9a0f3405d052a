#!/usr/bin/env bash
# Goes on from an adapter with what the embedded policy goes along with though it is harmful, to be refused under the usual
# objectives. Does not ship: in half an hour on a CPU it is learnt by its look and not by its sense. After a pass with 292
# refusals beside 170 answers of another style that stay, 55 of 140 fine answers were refused; after one more with 110 and
# 380 of the same style, as here, 1 of 70, but of what people ask hh_harmless 3 of 6 refusals were of harmless questions.
# A beginning for a longer run on a GPU: PART times as many rows, LONGEST, BATCH, ACCUMULATE, FIRST_LAYER=0, and more
# queries read in read.yaml.
# Usage: train/runs/refusals.sh DATA FROM [OUT]     DATA has pairs/train.jsonl.gz; FROM: an adapter, GGUF or a folder
set -euo pipefail
data=$1 from=$2 out=${3:-build/refusals} part=${PART:-1}
metaaligner=${METAALIGNER:-.venv/bin/metaaligner}
own=smollm2-135m-instruct
# glibc gives large buffers back to the system after every step and gets them anew: a quarter of the time.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456
mkdir -p "$out"
answers=(train answers --licence Apache-2.0 --in-flight 8)
$metaaligner "${answers[@]}" "$data/pairs/train.jsonl.gz" --out "$out/answers.jsonl" --limit "${ANSWERS:-600}" \
  --source oasst_qlora --source hh_helpful --source ultrafeedback_1k2 --source oasst_tree100
$metaaligner "${answers[@]}" "$data/pairs/train.jsonl.gz" --out "$out/read.jsonl" --source hh_harmless --limit 450 \
  --read train/read.yaml
$metaaligner "${answers[@]}" train/requests.yaml --out "$out/requested.jsonl"
[ -f "$out/rows.jsonl" ] || $metaaligner train prepare "pairs=$data/pairs/train.jsonl.gz" "answers=$out/answers.jsonl" \
  "answers=$out/read.jsonl" "answers=$out/requested.jsonl" --out "$out/rows.jsonl" --seed "${SEED:-34}" --take '*=0' \
  --refused $((300 * part)) --kept $((1000 * part)) --made $((200 * part)) --broken-off $((100 * part)) \
  --made-from "$own" --made-from oasst_qlora --made-from hh_helpful --longest 1100 --longest-context 600
$metaaligner train sft "$out/rows.jsonl" --out "$out/run" --work "$out/base" --from "$from" \
  --template chat --template chat --template chat --template ultrafeedback --rank 32 \
  --first-layer "${FIRST_LAYER:-12}" --learning-rate "${RATE:-2e-4}" --longest "${LONGEST:-800}" --batch "${BATCH:-2}" \
  --accumulate "${ACCUMULATE:-4}"
$metaaligner train export "$out/run/3-better" --work "$out/base" --gguf "$out/adapter.gguf"
