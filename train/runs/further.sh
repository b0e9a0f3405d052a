#!/usr/bin/env bash
# The second half of the adapter that ships: it goes on from what default.sh makes, on a CPU. Answers that break off are
# ended, what a policy says twice is taken out, all under the usual objectives; real answers are said in fewer or plainer
# words where that is asked for; and beside each of these there are as many that stay as they are. Twice, the second time
# with more of what only its objective asks for, and then blended with what it went on from, to forget less of that. A
# third time, with what the policy goes along with though it is harmful, to be refused, beside what only sounds so.
# An hour and three quarters on two cores, after half an hour for the policy's answers. For a GPU: PART times as many rows,
# ANSWERS, LONGEST tokens of a row, BATCH, ACCUMULATE, FIRST_LAYER=0. SHARE: how much of the first two is in their blend.
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
$metaaligner train answers "$data/pairs/train.jsonl.gz" --out "$out/read.jsonl" --licence Apache-2.0 \
  --limit 450 --in-flight 8 --source hh_harmless --read train/read.yaml
$metaaligner train answers train/requests.yaml --out "$out/requested.jsonl" --licence Apache-2.0 --in-flight 8

# pass NAME FROM RATE ITERATER PARADETOX PREPARE...: rows, training, and NAME.gguf.
pass() {
  local name=$1 from=$2 rate=$3 iterater=$4 paradetox=$5; shift 5
  [ -f "$out/$name.jsonl" ] || $metaaligner train prepare "pairs=$data/pairs/train.jsonl.gz" \
    "answers=$out/answers.jsonl" --out "$out/$name.jsonl" --seed "$name" \
    --take "iterater_human_sent=$((iterater * part))" --take "paradetox=$((paradetox * part))" --take '*=0' "$@" \
    --made-from "$own" --made-from oasst_qlora --made-from oasst_tree100 --longest 1700 --longest-context 600
  $metaaligner train sft "$out/$name.jsonl" --out "$out/$name" --work "$out/base" --from "$from" \
    --template chat --template chat --template chat --template ultrafeedback --rank 32 \
    --first-layer "${FIRST_LAYER:-12}" --learning-rate "$rate" --longest "${LONGEST:-900}" --batch "${BATCH:-2}" \
    --accumulate "${ACCUMULATE:-4}"
  $metaaligner train export "$out/$name/3-better" --work "$out/base" --gguf "$out/$name.gguf"
}
pass 31 "$from" 2e-4 40 40 --made $((520 * part)) --broken-off $((380 * part)) --simplified $((100 * part)) \
  --cleaned $((70 * part)) --kept $((120 * part))
pass 32 "$out/31.gguf" 1.5e-4 40 40 --made $((640 * part)) --broken-off $((240 * part)) --simplified $((40 * part)) \
  --cleaned $((30 * part)) --kept $((160 * part))
$metaaligner train export "$out/32/3-better" --work "$out/base" --gguf "$out/blend.gguf" \
  --blend "$from" --share "${SHARE:-0.75}"
pass 33 "$out/blend.gguf" 1.5e-4 20 30 "answers=$out/read.jsonl" "answers=$out/requested.jsonl" \
  --made $((300 * part)) --broken-off $((200 * part)) --simplified $((220 * part)) --cleaned $((90 * part)) \
  --refused $((300 * part)) --kept $((170 * part))
