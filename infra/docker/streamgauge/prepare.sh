#!/usr/bin/env bash
# Makes topics and tables once Kafka and ClickHouse answer; may be run at any time again. What
# waiting cannot mend, a wrong setting, ends it at once with exit code 2.
set -euo pipefail

wait_seconds=${PREPARE_WAIT_SECONDS:-120}

until_done() {
    local code said deadline=$((SECONDS + wait_seconds))
    while true; do
        code=0
        said=$("$@" 2>&1) || code=$?
        if ((code == 0 || code == 2 || SECONDS >= deadline)); then
            echo "$said"
            return $code
        fi
        sleep 1
    done
}

until_done streamgauge topics
until_done streamgauge migrate
