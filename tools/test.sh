#!/usr/bin/env bash
# Every check and every test: bash tools/test.sh [arguments of pytest]
set -euo pipefail
source "$(dirname "$0")/environment.sh"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
.venv/bin/lint-imports
.venv/bin/hadolint Dockerfile
exec "$python" -m pytest "$@"
