#!/bin/sh
# Starts the ClickHouse engine in its container, under the names that the official image uses for
# its user and password.
set -eu
if [ "${CLICKHOUSE_USER:-default}" != default ]; then
    echo "this image has one user, named default; CLICKHOUSE_USER is '$CLICKHOUSE_USER'" >&2
    exit 2
fi
if [ -z "${CLICKHOUSE_PASSWORD:-}" ]; then
    echo "other containers can reach this one: set CLICKHOUSE_PASSWORD" >&2
    exit 2
fi
export STREAMGAUGE_CLICKHOUSE_PASSWORD="$CLICKHOUSE_PASSWORD"
unset CLICKHOUSE_PASSWORD
set -- --folder /var/lib/clickhouse --host 0.0.0.0 --port 8123 "$@"
for name in $CLICKHOUSE_NAMES; do
    set -- "$@" --name "$name"
done
exec /opt/venv/bin/python -m infra.local.clickhouse --memory-mb "$CLICKHOUSE_MEMORY_MB" "$@"
