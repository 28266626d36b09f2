#!/usr/bin/env bash
# The quickstart on three seeds, or on those named, then one table of them all: bash tools/demo_seeds.sh [SEED…]
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- 0 1 2
results=()
for seed in "$@"; do
  bash tools/quickstart.sh "$seed"
  results+=("demo/results/seed-$seed.json")
done
.venv/bin/python -m tools.demo.table seeds "${results[@]}"
