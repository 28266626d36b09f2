#!/usr/bin/env bash
# Bring up a Neo4j 5.26 server from Maven's jars, on 127.0.0.1 alone and without a password.
# bash tools/neo4j/start.sh [--home DIR] [--port N] [--background]; stop.sh ends one that runs in the background.
# Needs Java 17 or 21 and Maven. The jars (about 130 MB) are fetched once, into ~/.cache/qwen_lightning.
set -euo pipefail
version=5.26.30
folder="$(cd "$(dirname "$0")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/qwen_lightning"
home="$cache/neo4j-home"
port=7687
background=
while [ $# -gt 0 ]; do
    case "$1" in
        --home) home="$2"; shift 2 ;;
        --port) port="$2"; shift 2 ;;
        --background) background=yes; shift ;;
        *) echo "usage: bash tools/neo4j/start.sh [--home DIR] [--port N] [--background]" >&2; exit 2 ;;
    esac
done
for program in java mvn; do
    command -v "$program" >/dev/null ||
        { echo "$program is missing; apt-get install default-jre-headless maven" >&2; exit 2; }
done

jars="$cache/neo4j-$version"
if [ ! -f "$jars/complete" ]; then
    mkdir -p "$cache"
    exec 9>"$cache/neo4j.lock"
    flock 9
    if [ ! -f "$jars/complete" ]; then
        echo "fetching Neo4j $version from Maven" >&2
        rm -rf "$jars"
        mvn --quiet --batch-mode --file "$folder/pom.xml" -Dneo4j.version="$version" -DincludeScope=runtime \
            -DoutputDirectory="$jars" dependency:copy-dependencies >&2
        touch "$jars/complete"
    fi
    exec 9>&-
fi

mkdir -p "$home/conf"
if [ -f "$home/server.pid" ] && kill -0 "$(cat "$home/server.pid")" 2>/dev/null; then
    echo "a server runs in $home already; bash tools/neo4j/stop.sh --home $home ends it" >&2
    exit 2
fi
cat >"$home/conf/neo4j.conf" <<EOF
server.bolt.listen_address=127.0.0.1:$port
server.http.enabled=false
server.https.enabled=false
server.memory.pagecache.size=64m
db.memory.transaction.max=256m
db.transaction.timeout=5s
dbms.security.auth_enabled=false
dbms.security.allow_csv_import_from_file_urls=false
dbms.usage_report.enabled=false
EOF
run=(java -Xms256m -Xmx1g -XX:+UseSerialGC
    --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/java.io=ALL-UNNAMED
    --add-opens=java.base/sun.nio.ch=ALL-UNNAMED
    -cp "$jars/*" org.neo4j.server.CommunityEntryPoint "--home-dir=$home" "--config-dir=$home/conf")
if [ -z "$background" ]; then
    echo "bolt://127.0.0.1:$port"
    exec "${run[@]}"
fi
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "port $port is taken; give another with --port" >&2
    exit 2
fi
setsid "${run[@]}" >"$home/server.log" 2>&1 </dev/null &
echo $! >"$home/server.pid"
for _ in $(seq 240); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "bolt://127.0.0.1:$port"
        exit 0
    fi
    kill -0 "$(cat "$home/server.pid")" 2>/dev/null || break
    sleep 0.5
done
echo "Neo4j did not start; the ends of its logs:" >&2
tail -n 20 "$home/server.log" "$home/logs/neo4j.log" >&2
bash "$folder/stop.sh" --home "$home"
exit 1
