#!/usr/bin/env bash
# Are the warm-up and the equal stage worth it? The same rows, with and without them; what is there already is kept.
# Usage: train/runs/ablations.sh DATA [OUT]     DATA has pairs/train.jsonl.gz and pairs/eval.jsonl.gz
# PART times as many rows; 1 takes half an hour on two cores. CASES: of each kind of damage. VARIANTS: some of them only.
# SOURCES: of data of your own, the names in its rows' `source`, with blanks between them: learnt from, and damaged.
# For a GPU, half a minute a variant: PART=24 BATCH=32 ACCUMULATE=1 RATE=5e-4 CHECKPOINTING=--no-checkpointing.
set -euo pipefail
data=$1 out=${2:-build/ablations} part=${PART:-1}
base=${BASE:-$out/base}  # where the base model is unpacked, once
metaaligner=${METAALIGNER:-.venv/bin/metaaligner}
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456
mkdir -p "$out"
takes=(--take "iterater_human_sent=$((20 * part))" --take "paradetox=$((20 * part))" --take "oasst_qlora=$((10 * part))")
good=(--made-from oasst_qlora --made-from hh_helpful --made-from oasst_tree100)
if [ -n "${SOURCES:-}" ]; then
  takes=() good=()
  for source in $SOURCES; do takes+=(--take "$source=$((20 * part))") good+=(--made-from "$source"); done
fi
$metaaligner train prepare "pairs=$data/pairs/train.jsonl.gz" --out "$out/rows.jsonl" --scorer measure \
  "${takes[@]}" --take '*=0' --made $((60 * part)) --identical $((20 * part)) --refused $((10 * part)) \
  "${good[@]}" --longest 700 --longest-context 300 \
  --held-out "$data/pairs/eval.jsonl.gz"
variant() {
  name=$1; shift
  $metaaligner train sft "$out/rows.jsonl" --out "$out/$name" --work "$base" --template chat \
    --learning-rate "${RATE:-2e-4}" --longest "${LONGEST:-512}" --batch "${BATCH:-2}" --accumulate "${ACCUMULATE:-4}" \
    --max-steps "${STEPS:--1}" "${CHECKPOINTING:---checkpointing}" "$@"
  $metaaligner train export "$(ls -d "$out/$name"/*-better)" --work "$base" --gguf "$out/$name.gguf"
  $metaaligner train evaluate --mending "$data/pairs/eval.jsonl.gz" --each "${CASES:-8}" --out "$out/$name-mending" \
    --adapter "$out/$name.gguf"
}
variants=${VARIANTS:-whole no-warm-up no-equal only-better}
for name in $variants; do
  case $name in
    whole) variant whole ;;
    no-warm-up) variant no-warm-up --stage equal --stage better ;;
    no-equal) variant no-equal --stage identical --stage better ;;
    only-better) variant only-better --stage better ;;
    *) echo "VARIANTS: there is no $name; there are whole, no-warm-up, no-equal, only-better" >&2; exit 1 ;;
  esac
done
{
  echo "| stages | what | cases | nearer | farther | nearer - farther, 95% | likeness before | after | copied | verdicts |"
  echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
  for name in $variants; do
    sed -n -E "s/^\| (fine|all damage) /| $name | \1 /p" "$out/$name-mending/report.md"
  done
} > "$out/ablations.part"
mv "$out/ablations.part" "$out/ablations.md"  # whoever finds it need not make it again
cat "$out/ablations.md"
