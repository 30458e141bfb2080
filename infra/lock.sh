#!/usr/bin/env bash
# Writes requirements.txt (what runs) and requirements-dev.txt (with tests and tools) for Python
# 3.11 to 3.13 on Linux and macOS. `make lock` runs it; its tool stays out of .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/pip" --disable-pip-version-check --quiet install 'uv>=0.9'

compile() {
    # Neither file may name where packages come from: that is the choice of each machine.
    "$tools/bin/uv" pip compile --quiet --upgrade --universal --python-version 3.11 \
        --generate-hashes --no-header --no-annotate --no-emit-index-url "$@" pyproject.toml
}

compile --output-file requirements.txt
compile --extra dev --constraint requirements.txt --output-file requirements-dev.txt
