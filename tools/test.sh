#!/usr/bin/env bash
# Every check and every test, in two processes: bash tools/test.sh [arguments of pytest; -n 0: in one]
set -euo pipefail
source "$(dirname "$0")/environment.sh"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
.venv/bin/lint-imports
.venv/bin/hadolint Dockerfile
exec "$python" -m pytest -n 2 --dist loadgroup "$@"
