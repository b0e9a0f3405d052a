#!/usr/bin/env bash
# The paper's recipe (arXiv 2403.17141): every weight, 2 epochs, learning rate 1e-5, 512 rows a step, cosine, warm-up 5%.
# Usage: train/runs/paper.sh MODEL OUT FORMAT=FILE...
#   MODEL         TinyLlama/TinyLlama-1.1B-Chat-v1.0, meta-llama/Llama-2-7b-chat-hf or meta-llama/Llama-2-13b-chat-hf
#   FORMAT=FILE   hh_rlhf=helpful-base/train.jsonl.gz and hh_rlhf=harmless-base/train.jsonl.gz, or
#                 ultrafeedback=ultrafeedback.jsonl, imhi:QUESTIONS.csv=imhi.csv, pairs=train.jsonl.gz
# Rows name what the data is scored in, and nothing else, the identical ones too: what the paper calls unseen stays so.
# IDENTICAL: rows of the warm-up.
# HELD_OUT: files to judge by, with blanks between them: conversations that open as theirs are not trained on. Rows
# as `pairs`, `policy_answers` or `judge_eval` have them.
# GPUS=4 BATCH=8  rows a GPU and pass; a step's 512 are a multiple of both. CONFIG: accelerate's, for another layout of one machine.
# TEMPLATE: another prompt than that of the first file's format; serve the corrector with the same.
# DRY_RUN=1 says what it would take, and trains nothing: memory, steps, tokens, hours.
set -euo pipefail
[ $# -ge 3 ] || { sed -n 3p "$0" | cut -c3- >&2; exit 1; }
model=$1 out=$2 data=("${@:3}")
metaaligner=${METAALIGNER:-.venv/bin/metaaligner}
gpus=${GPUS:-4} batch=${BATCH:-8}
accumulate=$((512 / (gpus * batch)))
[ $((accumulate * gpus * batch)) = 512 ] || { echo "GPUS=$gpus times BATCH=$batch is no part of the 512 rows of a step" >&2; exit 1; }
case ${data[0]} in  # as the release has a prompt for each of its data sets
  hh_rlhf*) template=hh_rlhf ;;
  imhi*) template=imhi ;;
  *) template=ultrafeedback ;;
esac
held_out=()
for file in ${HELD_OUT:-}; do held_out+=(--held-out "$file"); done
mkdir -p "$out"
$metaaligner train prepare "${data[@]}" --out "$out/rows.jsonl" --identical "${IDENTICAL:-5000}" --identical-as-scored \
  --longest 6000 --longest-context 8000 "${held_out[@]}"
settings=("$out/rows.jsonl" --out "$out/run" --model "$model" --template "${TEMPLATE:-$template}" --rank 0
  --learning-rate 1e-5 --epochs 2 --batch "$batch" --accumulate "$accumulate" --longest "${LONGEST:-2048}" --save-every 50)
if [ -n "${DRY_RUN:-}" ]; then
  exec $metaaligner train sft "${settings[@]}" --dry-run --devices "$gpus"
fi
metaaligner=$(command -v "$metaaligner")  # a file: accelerate looks for what it starts on no PATH
"$(dirname "$metaaligner")/accelerate" launch --config_file "${CONFIG:-train/runs/accelerate/fsdp-4.yaml}" \
  --num_processes "$gpus" "$metaaligner" train sft "${settings[@]}"
