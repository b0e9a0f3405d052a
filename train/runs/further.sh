#!/usr/bin/env bash
# Goes on from an adapter, on a CPU: what the embedded policy itself breaks off or says twice is mended under the usual
# objectives, real answers are said in fewer or plainer words where that is asked for, and beside each of these there are
# as many that stay as they are. Without them it forgets: the first try, with a quarter as many and three times the
# harmful drafts, left 103 of 140 answers alone where nothing was asked (138 before it) and refused to speak of cheesecake.
# An hour and a half on two cores, after half an hour for the policy's answers.
# Usage: train/runs/further.sh DATA FROM [OUT]     DATA has pairs/train.jsonl.gz; FROM: an adapter, GGUF or a folder
set -euo pipefail
data=$1 from=$2 out=${3:-build/further}
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
  --take iterater_human_sent=50 --take paradetox=50 --take '*=0' \
  --broken-off 620 --simplified 560 --cleaned 190 --kept 110 --made 1250 \
  --made-from "$own" --made-from oasst_qlora --made-from hh_helpful --made-from oasst_tree100 \
  --longest 1300 --longest-context 600
$metaaligner train sft "$out/rows.jsonl" --out "$out/run" --work "$out/base" --from "$from" \
  --template chat --template chat --template chat --template ultrafeedback --rank 32 --first-layer 12 \
  --learning-rate "${RATE:-3e-4}" --longest 900 --batch 2 --accumulate 4 --max-steps "${STEPS:-290}"
$metaaligner train export "$out/run/3-better" --work "$out/base" --gguf "$out/adapter.gguf" \
  ${SHARE:+--blend "$from" --share "$SHARE"}
