#!/usr/bin/env bash
# Make .venv with the project and its development tools; quick where it is there already.
# Sourced by quickstart.sh and test.sh; sets $python. PYTHON names the interpreter, TORCH another build of torch.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python
stamp=.venv/installed
if [ ! -f "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        { echo "Python 3.11 or newer is needed; name one in PYTHON" >&2; exit 1; }
    [ -x "$python" ] || "${PYTHON:-python3}" -m venv .venv
    "$python" -m pip install --quiet --upgrade pip
    # torch in a step of its own: it is large, and a machine may want its own build of it.
    "$python" -m pip install --quiet "${TORCH:-torch==2.13.0}"
    "$python" -m pip install --quiet --editable ".[postgres,dev]"
    touch "$stamp"
fi
