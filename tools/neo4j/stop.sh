#!/usr/bin/env bash
# End the Neo4j server that start.sh --background brought up: bash tools/neo4j/stop.sh [--home DIR]
set -euo pipefail
home="${XDG_CACHE_HOME:-$HOME/.cache}/qwen_lightning/neo4j-home"
[ "${1:-}" = --home ] && home="$2"
[ -f "$home/server.pid" ] || exit 0
pid="$(cat "$home/server.pid")"
kill "$pid" 2>/dev/null || true
for _ in $(seq 60); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.5
done
kill -9 "$pid" 2>/dev/null || true
rm -f "$home/server.pid"
