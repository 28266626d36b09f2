#!/usr/bin/env bash
# From a fresh clone to a trained SQL adapter, without GPU and without hub: environment, demo data, a small Qwen3,
# Base-SFT, GRPO, and a table of before and after. At most 12 minutes after installation on two cores.
#   bash tools/quickstart.sh [SEED]
set -euo pipefail
seed=${1:-0}
source "$(dirname "$0")/environment.sh"

begin=$SECONDS
say() { printf '\n== %s (%d s)\n' "$1" $((SECONDS - begin)); }

say "Demo data"
rm -rf demo/data demo/databases demo/base demo/adapters
"$python" -m tools.demo.make_data --output demo --seed "$seed"
"$python" -m qwen_lightning check demo/data/*.jsonl --databases demo/databases
say "A small Qwen3 that knows the demo's language"
"$python" -m tools.demo.make_base --output demo/base --seed "$seed"
say "Base-SFT"
"$python" -m qwen_lightning fit -c configs/sft.yaml -c configs/demo/sft.yaml --seed_everything "$seed"
say "GRPO on text2sql, with execution reward"
"$python" -m qwen_lightning fit -c configs/grpo_sql.yaml -c configs/demo/grpo_sql.yaml --seed_everything "$seed"
say "Before and after, on what was never trained on"
"$python" -m tools.demo.table measure --demo demo --output "demo/results/seed-$seed.json"
say "Done"
echo "Adapters:    demo/adapters/base-sft, demo/adapters/sql"
echo "TensorBoard: .venv/bin/tensorboard --logdir demo/runs"
