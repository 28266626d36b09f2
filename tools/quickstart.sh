#!/usr/bin/env bash
# From a fresh clone to trained adapters, without GPU and without hub: environment, demo data, a small Qwen3, Base-SFT,
# GRPO, and a table of before and after. The SQL adapter takes at most 12 minutes after installation on two cores; with
# --all the pipeline trains all six adapters, in about half an hour.
#   bash tools/quickstart.sh [--all] [SEED]
set -euo pipefail
all=
if [ "${1:-}" = --all ]; then
    all=--all
    shift
fi
seed=${1:-0}
source "$(dirname "$0")/environment.sh"

begin=$SECONDS
say() { printf '\n== %s (%d s)\n' "$1" $((SECONDS - begin)); }

say "Demo data"
rm -rf demo/data demo/databases demo/base demo/adapters demo/runs/pipeline demo/runs/*/pipeline-*
"$python" -m tools.demo.make_data --output demo --seed "$seed" $all
"$python" -m qwen_lightning check demo/data/*.jsonl --databases demo/databases
say "A small Qwen3 that knows the demo's language"
"$python" -m tools.demo.make_base --output demo/base --seed "$seed" $all
if [ -n "$all" ]; then
    say "The pipeline: Base-SFT, the persona, and GRPO on function calls, slots, SQL and Cypher"
    echo "seed_everything: $seed" >demo/seed.yaml
    "$python" -m qwen_lightning pipeline -c configs/pipeline.yaml -c configs/demo/pipeline.yaml -c demo/seed.yaml
    say "Every adapter by every metric, on what was never trained on"
    "$python" -m tools.demo.family --demo demo --output "demo/results/all-seed-$seed.json"
    say "Done"
    echo "Adapters:    demo/adapters/{base-sft,persona,fc,slot,sql,cypher}"
else
    say "Base-SFT"
    "$python" -m qwen_lightning fit -c configs/sft.yaml -c configs/demo/sft.yaml --seed_everything "$seed"
    say "GRPO on text2sql, with execution reward"
    "$python" -m qwen_lightning fit -c configs/grpo_sql.yaml -c configs/demo/grpo_sql.yaml --seed_everything "$seed"
    say "Before and after, on what was never trained on"
    "$python" -m tools.demo.table measure --demo demo --output "demo/results/seed-$seed.json"
    say "Done"
    echo "Adapters:    demo/adapters/base-sft, demo/adapters/sql"
fi
echo "TensorBoard: .venv/bin/tensorboard --logdir demo/runs"
echo "Ask them:    .venv/bin/python -m qwen_lightning serve --adapters demo/adapters --databases demo/databases --verify"
