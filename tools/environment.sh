#!/usr/bin/env bash
# Make .venv with the project and its development tools; quick where it is there already.
# Sourced by quickstart.sh and test.sh; sets $python.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python
stamp=.venv/installed
if [ ! -f "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
    [ -x "$python" ] || "${PYTHON:-python3}" -m venv .venv
    "$python" -m pip install --quiet --upgrade pip
    # torch in a step of its own: it is large, and a machine may have its own build of it.
    "$python" -m pip install --quiet "torch>=2.11,<3"
    "$python" -m pip install --quiet --editable ".[postgres,dev]"
    touch "$stamp"
fi
