#!/usr/bin/env bash
# The adapter that ships: an editor for SmolLM2-135M-Instruct that reads what it is asked, and refuses what nobody should
# get help with. One pass over edits (made ones and true rewrites, of texts of one to a few hundred tokens, and as many that
# stay as they are) and over answers to what somebody has read and found harmful, or harmless however it sounds
# (read.yaml): help with the first becomes a refusal, a refusal of it stays, and answers to the second stay too. Of these
# last there are more than of all refusals, in the same style: by less than that, a refusal is learnt by a draft's look.
# Usage: train/runs/default.sh DATA [OUT]     DATA has pairs/, policy_answers/ and judge_eval/
# PART times as many rows for each of SEEDS, which stand for other wordings and other refusals of the same data: 1 takes an
# hour and a half on two cores, and teaches little. The adapter that is shipped had PART=11 SEEDS='1 2 3 4 5' ANSWERS=1525
# READ=838 BATCH=64 ACCUMULATE=1 RATE=1e-3 CHECKPOINTING=--no-checkpointing on one GPU, in six minutes; and then, as more
# harmless requests had been written, two minutes more: FROM that, PART=4 SEEDS='6 7 8' REFUSED=200 KEPT=500 RATE=3e-4; both
# with REWRITTEN=0, as rewrites.jsonl was written later. Then on two cores, each from the one before it, READ=0
# FIRST_LAYER=12 RATE=2e-4 CHECKPOINTING=--no-checkpointing: an hour with MADE=420 SIMPLIFIED=60 REWRITTEN=2000 REFUSED=70
# KEPT=130, and half of one with MADE=700 REWRITTEN=220 REFUSED=40 KEPT=40 LONGEST=800 and hardly anything else.
# SOURCES: of data of your own, the names in its rows' `source`, with blanks between them: asked, learnt from, and damaged.
# Of such nobody has read the questions, so that READ is 0 then. FROM: an adapter to go on with. READ=0: refuse, and leave
# alone, answers to the requests only. REFUSED, KEPT: of answers to what has been read, or to these; SIMPLIFIED, REWRITTEN,
# MADE: of edits. NO_RESULTS=1: leaves out what it is worth, which takes longer.
set -euo pipefail
data=$1 out=${2:-build/default} part=${PART:-1}
metaaligner=${METAALIGNER:-.venv/bin/metaaligner}
own=smollm2-135m-instruct
# glibc gives large buffers back to the system after every step and gets them anew: a quarter of the time.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456
mkdir -p "$out"

asked=(--source oasst_qlora --source hh_helpful --source ultrafeedback_1k2 --source oasst_tree100)
good=(--made-from oasst_qlora --made-from hh_helpful --made-from oasst_tree100)
takes=(--take "iterater_human_sent=$((30 * part))" --take "paradetox=$((20 * part))" --take "safetext=$((2 * part))"
  --take "lamp_edits=$((2 * part))")
if [ -n "${SOURCES:-}" ]; then
  READ=${READ:-0} asked=() good=() takes=()
  for source in $SOURCES; do
    asked+=(--source "$source") good+=(--made-from "$source") takes+=(--take "$source=$((30 * part))")
  done
fi

# What the embedded policy itself says: its loops and unfinished ends, its help with what is harmful, and what may stay.
answers=("$metaaligner" train answers --licence Apache-2.0 --in-flight 8 --longest 900)
"${answers[@]}" "$data/pairs/train.jsonl.gz" --out "$out/answers.jsonl" --limit "${ANSWERS:-150}" \
  "${asked[@]}"
"${answers[@]}" train/requests.yaml --out "$out/requested.jsonl" --limit 1000
ours=("answers=$out/answers.jsonl" "answers=$out/requested.jsonl") harm=("answers=$out/requested.jsonl")
if [ "${READ:-100}" != 0 ]; then
  for file in pairs policy_answers; do
    "${answers[@]}" "$data/$file/train.jsonl.gz" --out "$out/read-$file.jsonl" --limit "${READ:-100}" \
      --read train/read.yaml --source hh_harmless --source hh-rlhf
    ours+=("answers=$out/read-$file.jsonl") read+=("read=$data/$file/train.jsonl.gz")
  done
  harm=("pairs=$data/pairs/train.jsonl.gz" "${ours[@]}" "${read[@]}"
    --made-from hh_harmless:harmless --made-from hh-rlhf:harmless)
fi

for seed in ${SEEDS:-1}; do
  each=(--made-from "$own" --seed "$seed" --held-out "$data/pairs/eval.jsonl.gz"
    --held-out "$data/policy_answers/eval.jsonl.gz" --longest-context 1500 --take '*=0')
  # No identical rows for a warm-up: under `--kept` and beside every change there are as many that stay as they are.
  $metaaligner train prepare "pairs=$data/pairs/train.jsonl.gz" pairs=train/rewrites.jsonl "${ours[@]}" \
    "${each[@]}" --out "$out/edits-$seed.jsonl" --longest 1500 \
    "${takes[@]}" --made $((${MADE:-500} * part)) --broken-off $((50 * part)) \
    --simplified $((${SIMPLIFIED:-20} * part)) --rewritten $((${REWRITTEN:-60} * part)) \
    --cleaned $((10 * part)) --answered $((5 * part)) --kept $((117 * part)) "${good[@]}"
  $metaaligner train prepare "${harm[@]}" "${each[@]}" --out "$out/harm-$seed.jsonl" \
    --longest 1700 --refused $((${REFUSED:-150} * part)) --declined $((42 * part)) --kept $((${KEPT:-150} * part))
done
for seed in ${SEEDS:-1}; do cat "$out/edits-$seed.jsonl" "$out/harm-$seed.jsonl"; done > "$out/rows.jsonl"
$metaaligner train sft "$out/rows.jsonl" --out "$out/run" --work "$out/base" ${FROM:+--from "$FROM"} \
  --template chat --template chat --template chat --template ultrafeedback --rank 32 \
  --first-layer "${FIRST_LAYER:-0}" --learning-rate "${RATE:-5e-4}" --longest "${LONGEST:-1024}" \
  --batch "${BATCH:-2}" --accumulate "${ACCUMULATE:-4}" "${CHECKPOINTING:---checkpointing}"
$metaaligner train export "$out/run/3-better" --work "$out/base" --gguf "$out/adapter.gguf"
[ -z "${NO_RESULTS:-}" ] || exit 0
$metaaligner train judge reward --fit "$data/pairs/train.jsonl.gz" --save "$out/reward.npz" \
  --held-out "$data/pairs/eval.jsonl.gz" --held-out "$data/policy_answers/eval.jsonl.gz" \
  --held-out "$data/judge_eval/hhh_alignment.jsonl.gz" \
  --on "$data/pairs/eval.jsonl.gz" --on "$data/judge_eval/hhh_alignment.jsonl.gz"
# Ablations know settings of the same names, which are this run's and not theirs.
env -u PART -u BATCH -u ACCUMULATE -u RATE -u LONGEST -u STEPS -u CHECKPOINTING \
  ADAPTER="$out/adapter.gguf" DOCS="${DOCS:-$out/docs}" train/runs/results.sh "$data" "$out"
