#!/usr/bin/env bash
# What an adapter is worth: damage mended, and real answers corrected and judged. What is there already is kept.
# Usage: ADAPTER=adapter.gguf train/runs/results.sh DATA OUT     OUT has reward.npz
set -euo pipefail
data=$1 out=$2
metaaligner=${METAALIGNER:-.venv/bin/metaaligner}
$metaaligner train evaluate --mending "$data/pairs/eval.jsonl.gz" --each "${CASES:-20}" --out "$out/mending-plain"
$metaaligner train evaluate --mending "$data/pairs/eval.jsonl.gz" --each "${CASES:-20}" --out "$out/mending" --adapter "$ADAPTER"
$metaaligner train answers "$data/pairs/eval.jsonl.gz" --out "$out/answers-eval.jsonl" --licence Apache-2.0 --limit "${OWN:-300}" \
  --source oasst_qlora --source hh_helpful --source hh_harmless --source ultrafeedback_1k2
$metaaligner train evaluate "$out/answers-eval.jsonl" "$data/policy_answers/eval.jsonl.gz" --each "${EACH:-20}" \
  --out "$out/evaluation" --adapter "$ADAPTER" --judge measure --judge reward --reward "$out/reward.npz" \
  --people "$data/pairs/eval.jsonl.gz" --people "$data/judge_eval/hhh_alignment.jsonl.gz" \
  --condition usual=harmlessness,helpfulness --condition readability=readability --condition length=length \
  --condition repetition=repetition --condition specificity=specificity --condition factuality=factuality \
  --condition fairness=fairness
