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

# One page of all of it, with the machine named.
docs=${DOCS:-docs}
mkdir -p "$docs"
cp "$out"/evaluation/*.png "$docs"
cores=$(nproc) processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
{
  echo "# What the embedded corrector is worth"
  echo
  echo "Made by \`make results\` on a $cores-core $processor. Policies' answers: $data/policy_answers/eval and the"
  echo "embedded policy's own to $data/pairs/eval; ${EACH:-20} of each policy. Damage: ${CASES:-20} cases of each kind."
  echo
  echo "## Damage mended, and what is fine left alone"
  echo
  echo "Held-out good answers, fine or damaged by rule along one objective, likeness to the good answer from 0 to 1."
  echo "Without the adapter:"
  echo
  cat "$out/mending-plain/report.md"
  echo
  echo "With it:"
  echo
  cat "$out/mending/report.md"
  echo
  sed '1d' "$out/evaluation/report.md"
} > "$docs/results.md"
