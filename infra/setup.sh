#!/usr/bin/env bash
# Makes .venv from the lock files, or leaves it alone when nothing changed. `make setup` runs it.
#   PYTHON=/path/to/python infra/setup.sh    takes that Python instead of the first fitting one
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
stamp=$venv/.streamgauge-setup

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

fitting_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    {
        echo "streamgauge needs Python 3.11, 3.12 or 3.13; here:"
        for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
            echo "  $candidate: $("$candidate" --version 2>/dev/null || echo none)"
        done
        echo "Install one of them, or name it: make setup PYTHON=/path/to/python3.12"
    } >&2
    return 1
}

# The name of the folder is part of it: the scripts in a .venv name its folder.
key=$(cat requirements-dev.txt pyproject.toml infra/setup.sh | cksum)" $PWD"

if [ -x $venv/bin/streamgauge ] && [ "$(cat $stamp 2>/dev/null)" = "$key" ] && fits $venv/bin/python; then
    exit 0
fi

if ! fits $venv/bin/python || ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(fitting_python)
    echo "making $venv with $("$python" --version)"
    rm -rf $venv
    if ! "$python" -m venv $venv; then
        rm -rf $venv
        echo "Python's venv module does not work; on Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
fi

echo "installing the locked packages, checked by their hashes"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
# Of the thousands of modules few are ever imported; Python compiles those when they are.
"${pip[@]}" install --require-hashes --no-deps --no-compile -r requirements-dev.txt
"${pip[@]}" install --no-deps --no-build-isolation --editable .
"${pip[@]}" check
printf '%s\n' "$key" >$stamp
echo "ready: $venv/bin/streamgauge --help"
