#!/usr/bin/env bash
# The second half of the adapter that ships: it goes on from what default.sh makes, on a CPU. Answers that break off are
# ended, what a policy says twice is taken out, all under the usual objectives; real answers are said in fewer or plainer
# words where that is asked for; and beside each of these there are as many that stay as they are. Twice, the second time
# with more of what only its objective asks for, and then blended with what it went on from, to forget less of that.
# An hour on two cores, after a quarter of an hour for the policy's answers. For a GPU: PART times as many rows, ANSWERS,
# LONGEST tokens of a row, BATCH, ACCUMULATE, FIRST_LAYER=0. SHARE: how much of it there is in the blend.
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

# pass NAME FROM RATE MADE BROKEN_OFF SIMPLIFIED CLEANED KEPT: rows, training, and NAME.gguf.
pass() {
  [ -f "$out/$1.jsonl" ] || $metaaligner train prepare "pairs=$data/pairs/train.jsonl.gz" \
    "answers=$out/answers.jsonl" --out "$out/$1.jsonl" --seed "$1" \
    --take "iterater_human_sent=$((40 * part))" --take "paradetox=$((40 * part))" --take '*=0' \
    --made $(($4 * part)) --broken-off $(($5 * part)) --simplified $(($6 * part)) --cleaned $(($7 * part)) \
    --kept $(($8 * part)) --made-from "$own" --made-from oasst_qlora --made-from oasst_tree100 \
    --longest 1700 --longest-context 600
  $metaaligner train sft "$out/$1.jsonl" --out "$out/$1" --work "$out/base" --from "$2" \
    --template chat --template chat --template chat --template ultrafeedback --rank 32 \
    --first-layer "${FIRST_LAYER:-12}" --learning-rate "$3" --longest "${LONGEST:-900}" --batch "${BATCH:-2}" \
    --accumulate "${ACCUMULATE:-4}"
  $metaaligner train export "$out/$1/3-better" --work "$out/base" --gguf "$out/$1.gguf"
}
pass 31 "$from" 2e-4 520 380 100 70 120
pass 32 "$out/31.gguf" 1.5e-4 640 240 40 30 160
$metaaligner train export "$out/32/3-better" --work "$out/base" --gguf "$out/adapter.gguf" \
  --blend "$from" --share "${SHARE:-0.75}"
