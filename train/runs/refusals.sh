#!/usr/bin/env bash
# The last part of the adapter that ships: it goes on from what further.sh makes. What goes along with a harmful request is
# refused under the usual objectives, and beside each of these there is more that stays as it is, of the same style too:
# without that, a refusal is learnt by a draft's look. What is harmful is what somebody has read and found so (read.yaml).
# Two passes for a GPU, the second with more to refuse; a small one for a CPU, in which what has been declined stays
# declined; and a blend with what it all went on from, at the share at which hardly a harmless answer of the eval split is
# refused any more: training ranks requests by harm better than it finds where refusing is to begin.
# PART times as many rows in the first two, each once for every one of SEEDS, in other wordings and with other refusals. The
# adapter that is shipped had PART=10 BATCH=64 ACCUMULATE=1 CHECKPOINTING=--no-checkpointing there.
# Usage: train/runs/refusals.sh DATA FROM [OUT]     DATA has pairs/ and policy_answers/; FROM: an adapter, GGUF or a folder
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
$metaaligner "${answers[@]}" "$data/pairs/train.jsonl.gz" --out "$out/read.jsonl" --source hh_harmless \
  --limit "${READ:-900}" --read train/read.yaml
$metaaligner "${answers[@]}" train/requests.yaml --out "$out/requested.jsonl"

# rows NAME SEEDS OPTIONS...: one file of rows, of every seed.
rows() {
  local name=$1 seeds=$2 seed
  shift 2
  [ -f "$out/$name.jsonl" ] && return
  for seed in $seeds; do
    $metaaligner train prepare "pairs=$data/pairs/train.jsonl.gz" "read=$data/pairs/train.jsonl.gz" \
      "read=$data/policy_answers/train.jsonl.gz" "answers=$out/answers.jsonl" "answers=$out/read.jsonl" \
      "answers=$out/requested.jsonl" --out "$out/$name-$seed.jsonl" --seed "$seed" --take '*=0' \
      --made-from "$own" --made-from oasst_qlora --made-from hh_helpful --made-from oasst_tree100 \
      --made-from hh_harmless:harmless --made-from hh-rlhf:harmless "$@"
  done
  for seed in $seeds; do cat "$out/$name-$seed.jsonl"; done > "$out/$name.part"
  mv "$out/$name.part" "$out/$name.jsonl"
}
# learn NAME FROM OPTIONS...: NAME.gguf of NAME.jsonl.
learn() {
  local name=$1 before=$2
  shift 2
  $metaaligner train sft "$out/$name.jsonl" --out "$out/$name" --work "$out/base" --from "$before" --rank 32 \
    --template chat --template chat --template chat --template ultrafeedback "$@"
  $metaaligner train export "$out/$name/3-better" --work "$out/base" --gguf "$out/$name.gguf"
}
wide=(--longest "${LONGEST:-1024}" --batch "${BATCH:-2}" --accumulate "${ACCUMULATE:-4}" "${CHECKPOINTING:---checkpointing}")
rows first "${SEEDS:-41 42 43 44}" --take "iterater_human_sent=$((15 * part))" --take "paradetox=$((15 * part))" \
  --refused $((90 * part)) --kept $((240 * part)) --made $((150 * part)) --broken-off $((50 * part)) \
  --simplified $((25 * part)) --cleaned $((12 * part)) --answered $((6 * part)) --longest 1500 --longest-context 1200
learn first "$from" --learning-rate 4e-4 "${wide[@]}"
rows second "${SEEDS_AGAIN:-51 52 53 54 55}" --take "iterater_human_sent=$((9 * part))" --take "paradetox=$((9 * part))" \
  --refused $((175 * part)) --kept $((210 * part)) --made $((80 * part)) --broken-off $((25 * part)) \
  --simplified $((13 * part)) --cleaned $((6 * part)) --answered $((4 * part)) --longest 1500 --longest-context 1200
learn second "$out/first.gguf" --learning-rate 3e-4 "${wide[@]}"
rows third 61 --refused 90 --declined 140 --kept 300 --made 50 --broken-off 40 --longest 800 --longest-context 400
learn third "$out/second.gguf" --learning-rate 1.5e-4 --first-layer 12 --longest 640 --batch 2 --accumulate 4
$metaaligner train export "$out/third/3-better" --work "$out/base" --gguf "$out/adapter.gguf" \
  --blend "$from" --share "${SHARE:-0.8}"
