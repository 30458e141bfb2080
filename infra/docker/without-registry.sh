#!/usr/bin/env bash
# A Docker engine and our images where no image registry can be reached.
#
#   without-registry.sh check         what is missing on this machine, and how to install it
#   without-registry.sh up            engine, base image and our three images; prints what to set
#   without-registry.sh run COMMAND   a command with this engine: run make test-containers
#   without-registry.sh down          stop the engine and delete all that it stored
#
# It needs root on Debian 12 or a relative of it. It installs nothing: `check` prints the command.
# What it changes is an engine of its own below STATE and, while that runs, a bridge `docker0` and
# rules of the packet filter; `down` takes all of it back. Ports are published on 127.0.0.1 only.
# From the environment:
#   STATE=/var/tmp/streamgauge-docker     the engine's data, images and log
#   STORAGE_DRIVER=overlay2               vfs works everywhere and takes several times the disk
#   SUITE=bookworm MIRROR=...             what the base image is made of, and from where
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

state=${STATE:-/var/tmp/streamgauge-docker}
driver=${STORAGE_DRIVER:-overlay2}
suite=${SUITE:-bookworm}
base=streamgauge-base
start_seconds=60
stop_seconds=60
# Another docker may stand first in the PATH; this one belongs to the engine.
client=/usr/bin/docker

export DOCKER_HOST=unix://$state/docker.sock
export DOCKER=$client

say() { echo "without-registry: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

check() {
    local missing=()
    [[ -x $client ]] && command -v dockerd >/dev/null || missing+=(docker.io)
    command -v debootstrap >/dev/null || missing+=(debootstrap)
    if ((${#missing[@]})); then
        say "not installed: ${missing[*]}. As root:"
        say "  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
        return 1
    fi
    [[ $(id -u) == 0 ]] || fail "an engine and debootstrap need root"
}

engine_pid() {
    local pid
    pid=$(cat "$state/dockerd.pid" 2>/dev/null) && [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]] && echo "$pid"
}

# Whether docker0 is of an engine of this state that was killed, and of no other that runs.
left_behind() {
    [[ -e /sys/class/net/docker0 && -s $state/forward-policy ]] && ! pgrep -x dockerd >/dev/null
}

start_engine() {
    if engine_pid >/dev/null; then
        say "the engine runs already"
        return
    fi
    if [[ ! -e /sys/class/net/docker0 ]]; then
        mkdir -p "$state"
        iptables -S FORWARD | head -n 1 >"$state/forward-policy"
        cat /proc/sys/net/ipv4/ip_forward >"$state/ip-forward"
    elif left_behind; then
        # What was there before is recorded already; now there are the dead engine's own rules.
        say "an engine of this state did not end in order; its state is taken over"
        rm -f "$state/dockerd.pid"
    else
        fail "there is a docker0 already: a Docker engine runs here, use that one"
    fi
    say "starting dockerd, its data in $state"
    # Published ports are for this machine, whatever a container's starter forgets to say.
    setsid dockerd --data-root "$state/data" --exec-root "$state/exec" --pidfile "$state/dockerd.pid" \
        --host "$DOCKER_HOST" --storage-driver "$driver" --ip 127.0.0.1 \
        </dev/null >"$state/dockerd.log" 2>&1 &
    local deadline=$((SECONDS + start_seconds))
    until $client info >/dev/null 2>&1; do
        if ! kill -0 $! 2>/dev/null || ((SECONDS > deadline)); then
            tail -n 20 "$state/dockerd.log" >&2
            fail "dockerd did not start"
        fi
        sleep 0.2
    done
}

make_base() {
    if $client image inspect $base >/dev/null 2>&1; then
        say "the base image is there already"
        return
    fi
    say "making $base of Debian $suite with debootstrap"
    rm -rf "$state/rootfs"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
        "$suite" "$state/rootfs" ${MIRROR:+"$MIRROR"} >"$state/debootstrap.log" ||
        fail "debootstrap failed: see $state/debootstrap.log"
    rm -rf "$state"/rootfs/var/cache/apt/archives/*.deb "$state"/rootfs/var/lib/apt/lists/*
    # Where this machine gets its packages from is not for an image.
    rm -f "$state/rootfs/etc/apt/sources.list"
    tar -C "$state/rootfs" -c . | $client import --change 'ENV LANG=C.UTF-8' - $base >/dev/null
    rm -rf "$state/rootfs"
}

up() {
    check
    start_engine
    make_base
    # The package index may answer only on this machine's own network.
    BASE=$base BUILD_NETWORK=host "$here/build.sh"
    say "ready. For other shells: export DOCKER_HOST=$DOCKER_HOST"
}

down() {
    local pid
    if ! engine_pid >/dev/null && left_behind; then
        # Only an engine knows every bridge, mount and rule that one leaves behind when it is killed.
        start_engine
    fi
    if pid=$(engine_pid); then
        $client ps -aq | xargs -r $client rm -f >/dev/null
        $client network prune -f >/dev/null
        say "stopping dockerd"
        kill "$pid"
        local deadline=$((SECONDS + stop_seconds))
        while kill -0 "$pid" 2>/dev/null; do
            ((SECONDS <= deadline)) || fail "dockerd (process $pid) does not end"
            sleep 0.2
        done
        take_back_network
    fi
    # An engine binds its data to itself, and does not take back the mount of one that was killed.
    if ! engine_pid >/dev/null && grep -q " $state/data " /proc/mounts; then
        umount "$state/data"
    fi
    # Nothing may be mounted below what is deleted.
    if grep -q " $state/" /proc/mounts; then
        fail "still mounted below $state: $(grep -c " $state/" /proc/mounts) file systems"
    fi
    rm -rf "$state"
    say "the engine and its data are gone"
}

take_back_network() {
    local tool
    for tool in iptables ip6tables; do
        # dockerd leaves its chains behind, and every rule in or to them names DOCKER or docker0.
        "$tool-save" | { grep -v -E 'DOCKER|docker0' || true; } | "$tool-restore"
    done
    [[ ! -e /sys/class/net/docker0 ]] || ip link delete docker0
    read -r _ chain policy <"$state/forward-policy"
    iptables -P "$chain" "$policy"
    cat "$state/ip-forward" >/proc/sys/net/ipv4/ip_forward
}

case ${1:-} in
    check)
        check
        say "nothing is missing"
        ;;
    up) up ;;
    run)
        shift
        engine_pid >/dev/null || fail "no engine runs: without-registry.sh up"
        export BASE=$base BUILD_NETWORK=host
        exec "$@"
        ;;
    down) down ;;
    *)
        sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
esac
