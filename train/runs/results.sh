#!/usr/bin/env bash
# What an adapter is worth: damage mended, real answers corrected and judged, ablations. What is there already is kept.
# Usage: ADAPTER=adapter.gguf train/runs/results.sh DATA OUT     OUT has reward.npz
# CASES of each kind of damage, OWN answers of the embedded policy, EACH of the answers of a policy and data set under every
# objective, OTHERS of each under the usual ones alone; MEASURED: of its own answers to each data set, for objectives that
# can be measured. ALONE: objectives that are asked for alone. ASKED cases of each manner, asked for and not.
# ABLATION_CASES, where they are to be fewer; ABLATION_NOTE: what is to be said beside their table, kept with it.
# SOURCES: of pairs/eval, whose queries the embedded policy answers, and which ablations.sh learns from.
# DOCS: where the page and its plots go; docs/ for the adapter that ships, and OUT/docs for any other.
set -euo pipefail
data=$1 out=$2
metaaligner=${METAALIGNER:-.venv/bin/metaaligner}
cases=${CASES:-20} own=${OWN:-300} each=${EACH:-20}
judges=(--adapter "$ADAPTER" --judge measure --judge reward --reward "$out/reward.npz") on=()
people=(pairs/eval judge_eval/hhh_alignment judge_eval/llmbar)
for said in "${people[@]}"; do judges+=(--people "$data/$said.jsonl.gz") on+=(--on "$data/$said.jsonl.gz"); done
judged=${JUDGED:-40} ablated=${ABLATION_CASES:-$cases}
# A stamp beside what is kept says of what settings it is: of others it is made anew. What has no stamp yet stays.
kept_of() {  # SETTINGS FILE [what it is made from ...]
  if [ -e "$2.settings" ] && [ "$(cat "$2.settings")" != "$1" ]; then rm -rf "${@:2}"; fi
  mkdir -p "$(dirname "$2")"
  echo "$1" > "$2.settings"
}
kept_of "JUDGED=$judged ${people[*]}" "$out/judges.md"
[ "$out/judges.md" -nt "$out/reward.npz" ] || {
  echo "The reward model:"
  echo
  $metaaligner train judge reward --load "$out/reward.npz" "${on[@]}" --controls "$data/pairs/eval.jsonl.gz"
  echo
  echo "What is only counted:"
  echo
  $metaaligner train judge measure "${on[@]}"
  echo
  echo "The embedded model itself as a judge, up to $judged questions, each in both orders:"
  echo
  # One that answers no question with 1, 2 or 0 is given up, which is a result too; any other failure ends this script.
  $metaaligner train judge llm --model smollm2-135m-instruct --on "$data/judge_eval/hhh_alignment.jsonl.gz" \
    --limit "$judged" --in-flight 4 2> "$out/judge-llm.log" \
    || { grep -o 'answered none of the first questions with 1, 2 or 0' "$out/judge-llm.log" \
      || { cat "$out/judge-llm.log" >&2; exit 1; }; } | sed 's/.*/It &, and was given up./'
} > "$out/judges.part"
[ ! -s "$out/judges.part" ] || mv "$out/judges.part" "$out/judges.md"
from=()
for source in ${SOURCES:-oasst_qlora hh_helpful hh_harmless ultrafeedback_1k2}; do from+=(--source "$source"); done
$metaaligner train answers "$data/pairs/eval.jsonl.gz" --out "$out/answers-eval.jsonl" --licence Apache-2.0 --limit "$own" \
  "${from[@]}"
$metaaligner train evaluate "$out/answers-eval.jsonl" --each "$own" --out "$out/own" "${judges[@]}" \
  --condition usual=harmlessness,helpfulness
# Requests that nothing is trained on: what is refused of what is plainly harmful, and of what only sounds so.
$metaaligner train answers train/requests-eval.yaml --out "$out/requested-eval.jsonl" --licence Apache-2.0
$metaaligner train evaluate "$out/requested-eval.jsonl" --each 1000 --out "$out/requested" "${judges[@]}" \
  --condition usual=harmlessness,helpfulness
conditions=(--condition usual=harmlessness,helpfulness)
for objective in ${ALONE:-readability length repetition specificity factuality fairness harmlessness helpfulness}; do
  conditions+=(--condition "$objective=$objective")
done
conditions+=(--condition all=harmlessness,helpfulness,readability,length,repetition,specificity,factuality,fairness)
$metaaligner train evaluate "$out/answers-eval.jsonl" "$data/policy_answers/eval.jsonl.gz" --each "$each" \
  --out "$out/evaluation" "${judges[@]}" "${conditions[@]}"
others=${OTHERS:-40}
$metaaligner train evaluate "$data/policy_answers/eval.jsonl.gz" --each "$others" --out "$out/others" "${judges[@]}" \
  --condition usual=harmlessness,helpfulness
measured=${MEASURED:-25}
$metaaligner train evaluate "$out/answers-eval.jsonl" --each "$measured" --out "$out/measured" --adapter "$ADAPTER" \
  --judge measure --condition usual=harmlessness,helpfulness --condition readability=readability \
  --condition length=length --condition repetition=repetition
$metaaligner train evaluate --mending "$data/pairs/eval.jsonl.gz" --each "$cases" --out "$out/mending" --adapter "$ADAPTER"
$metaaligner train evaluate --mending "$data/pairs/eval.jsonl.gz" --each "$cases" --out "$out/mending-ultrafeedback" \
  --adapter "$ADAPTER" --template ultrafeedback
$metaaligner train evaluate --mending "$data/pairs/eval.jsonl.gz" --each "$cases" --out "$out/mending-plain"
$metaaligner train evaluate --mending --asked "$data/pairs/eval.jsonl.gz" --each "${ASKED:-6}" --out "$out/asked" --adapter "$ADAPTER"
learnt="PART=${PART:-1} BATCH=${BATCH:-} ACCUMULATE=${ACCUMULATE:-} RATE=${RATE:-} LONGEST=${LONGEST:-} STEPS=${STEPS:-}"
kept_of "$learnt SOURCES='${SOURCES:-}'" "$out/ablations/rows.jsonl" "$out/ablations"
kept_of "ABLATION_CASES=$ablated VARIANTS='${VARIANTS:-all}'" "$out/ablations/ablations.md" "$out"/ablations/*-mending
[ -z "${ABLATION_NOTE:-}" ] || echo "$ABLATION_NOTE" > "$out/ablations/note.md"
[ -s "$out/ablations/ablations.md" ] || CASES=$ablated train/runs/ablations.sh "$data" "$out/ablations"

# One page of all of it, with the machine named. What has been read of the adapter that ships, and what that cost to
# train, is not so of another one.
shipped=corrector/adapters/smollm2-135m-editor.gguf
if [ "$ADAPTER" = smollm2-135m-editor ] || cmp -s "$ADAPTER" "$shipped"; then ships=1; else ships=; fi
of_the_shipped() { if [ "$ships" ]; then cat "$@"; fi; }
docs=${DOCS:-$([ "$ships" ] && echo docs || echo "$out/docs")}
mkdir -p "$docs"
cp "$out"/evaluation/*.png "$docs"
cores=$(nproc) processor=$(sed -n '/^model name/{s/^[^:]*: //p;q}' /proc/cpuinfo)
{
  echo "# What the embedded corrector is worth"
  echo
  echo "Made by \`make results\` on a $cores-core ${processor:-$(uname -m)}. Policies' answers: $data/policy_answers/eval and the"
  echo "embedded policy's own to $data/pairs/eval. Of real answers there is no right correction to compare with: judges"
  echo "decide, each beside how far it agrees with people. Where a 95% interval would be of values that are all the same, it"
  echo "is \`–\`. Run with \`OWN=$own EACH=$each CASES=$cases"
  echo "ALONE='${ALONE:-all eight}' OTHERS=$others MEASURED=$measured ASKED=${ASKED:-6} JUDGED=$judged"
  echo "ABLATION_CASES=$ablated VARIANTS='${VARIANTS:-all}'\`."
  echo
  echo "## How far the judges are to be trusted"
  echo
  cat train/runs/results-judges.md
  echo
  cat "$out/judges.md"
  echo
  of_the_shipped train/runs/results-read.md
  echo
  echo "## The embedded policy's own answers"
  echo
  sed -e '1d' -e 's/^#/##/' "$out/own/report.md" | grep -v '^!\['
  echo
  echo "## What is plainly harmful, and what only sounds so"
  echo
  echo "The embedded policy's answers to requests written for this project (\`train/requests-eval.yaml\`), which nothing is"
  echo "trained on, under harmlessness and helpfulness:"
  echo
  sed -n '/^## What was refused/,/^## Corr/p' "$out/requested/report.md" | grep '^|'
  echo
  echo "## Answers of stronger models"
  echo
  echo "Most of these want no correction: $others answers of each policy and data set, under harmlessness and helpfulness."
  echo
  of_the_shipped train/runs/results-others.md
  echo
  sed -n '/^## What became/,/^## What changed/p' "$out/others/report.md" | grep '^|'
  echo
  echo "Correction against draft:"
  echo
  sed -n '/^## Correction against draft/,/^## Draft against/p' "$out/others/report.md" | grep '^|'
  echo
  echo "## Every policy, and each objective alone"
  echo
  echo "$each answers of each policy and data set; a policy that has answered several is told by data set, and as a whole."
  echo "\`usual\` is harmlessness and helpfulness; the other conditions ask for one objective alone; readability, specificity"
  echo "and fairness the adapter has never been trained for. *Correction against unasked* compares with what the same"
  echo "corrector makes of the same draft under the usual objectives: does asking for the objective move its own measure?"
  echo
  sed -e '1d' -e 's/^#/##/' "$out/evaluation/report.md"
  echo
  echo "## Does asking for an objective move its own measure?"
  echo
  echo "More of the embedded policy's own answers, $measured of each data set, under the usual objectives and under one alone"
  echo "that can be measured. Lower and higher: than what the same corrector makes of the same draft under the usual ones."
  echo
  sed -n '/^## What changed, counted/,/^## /p' "$out/measured/report.md" | grep '^|'
  echo
  echo "## Damage mended, and what is fine left alone"
  echo
  echo "Held-out good answers, fine or damaged by rule along one objective: here there is a right correction, the answer"
  echo "that was damaged. Likeness to it from 0 to 1; $cases cases of each kind. But for the kinds that are marked unseen, the"
  echo "damage is done by the rules, and in the words, that the training rows had: only the answers are held out. With the"
  echo "adapter:"
  echo
  grep '^|' "$out/mending/report.md"
  echo
  echo "The same, asked in the other prompt family that the adapter was trained with, \`ultrafeedback\`:"
  echo
  grep '^|' "$out/mending-ultrafeedback/report.md"
  echo
  echo "The same without it, the base model alone:"
  echo
  grep '^|' "$out/mending-plain/report.md"
  echo
  echo "## Is the objective's text read?"
  echo
  echo "The same answers put into another manner, which is no fault unless somebody says so: each toward the objective that"
  echo "asks for theirs, and once more under the usual ones, when they had better stay as they are (but for an oath, which is"
  echo "harmlessness's matter too). Then fine answers of which something is asked, a word for another, an opening, a name,"
  echo "and once more under the usual objectives. What is marked unseen is in no row of any training: of the manners neither"
  echo "the manner nor the objective, of the rest the words, names and phrases that are asked for:"
  echo
  grep '^|' "$out/asked/report.md"
  echo
  of_the_shipped train/runs/results-asked.md
  echo
  echo "## Are the warm-up and the equal stage worth it?"
  echo
  echo "Small runs on the same rows, with and without the two stages, measured as above (\`train/runs/ablations.sh\`):"
  [ ! -e "$out/ablations/note.md" ] || cat "$out/ablations/note.md"
  echo
  cat "$out/ablations/ablations.md"
  echo
  of_the_shipped train/runs/results-cost.md
} > "$docs/results.part"
mv "$docs/results.part" "$docs/results.md"  # never half of it
