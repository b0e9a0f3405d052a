#!/usr/bin/env bash
# Data to a served and measured adapter, as small as it can be: does every part still fit the next?
# Usage: train/runs/smoke.sh PAIRS [OUT]
set -euo pipefail
pairs=$1 out=${2:-build/smoke}
base=${BASE:-$out/base}  # where the base model is unpacked, once
metaaligner=${METAALIGNER:-.venv/bin/metaaligner}
$metaaligner train prepare "pairs=$pairs" --out "$out/rows.jsonl" --take '*=2' --made 8 --identical 4 --longest 300 --longest-context 200
$metaaligner train sft "$out/rows.jsonl" --out "$out/run" --work "$base" --template chat --rank 4 --batch 2 --max-steps 2 --longest 256
$metaaligner train export "$(ls -d "$out"/run/*-better)" --work "$base" --gguf "$out/adapter.gguf"
$metaaligner train evaluate --mending "$pairs" --out "$out/evaluation" --adapter "$out/adapter.gguf" --each 1
