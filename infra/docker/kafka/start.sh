#!/usr/bin/env bash
# Starts Kafka in its container. As in Apache's own image, KAFKA_LOG_DIRS is the setting log.dirs:
# a single underscore is a dot, two are an underscore, three are a dash. CLUSTER_ID names the
# cluster when the log is first made, KAFKA_HEAP_OPTS the memory of Java.
set -euo pipefail

home=/opt/kafka
settings=/var/lib/kafka/server.properties

write_settings() {
    cat $home/server.properties
    local name key
    for name in $(compgen -e KAFKA_); do
        case $name in KAFKA_HEAP_OPTS) continue ;; esac
        if [[ ${!name} == *$'\n'* ]]; then
            echo "$name has more than one line" >&2
            return 1
        fi
        key=${name#KAFKA_}
        key=${key,,}
        key=${key//___/-}
        key=${key//__/$'\n'}
        key=${key//_/.}
        # The last of two lines with one key counts.
        echo "${key//$'\n'/_}=${!name}"
    done
}

run_java() {
    local heap
    read -ra heap <<<"${KAFKA_HEAP_OPTS:--Xmx512m}"
    exec $home/java/bin/java "${heap[@]}" @$home/java.options "$@"
}

new_cluster_id() {
    local id=-
    # The tool would take a dash in front for an option.
    while [[ $id == -* ]]; do
        id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
    done
    echo "$id"
}

write_settings >$settings
data=$(sed -n 's/^log\.dirs=//p' $settings | tail -n 1)
if [[ ! -e $data/meta.properties ]]; then
    format=(format --cluster-id "${CLUSTER_ID:-$(new_cluster_id)}" --config $settings)
    if [[ -z ${KAFKA_CONTROLLER_QUORUM_VOTERS:-} ]]; then
        format+=(--standalone)
    fi
    (run_java kafka.tools.StorageTool "${format[@]}")
fi
run_java kafka.Kafka $settings
