#!/usr/bin/env bash
# Builds our images: streamgauge-kafka, streamgauge-clickhouse and streamgauge.
#   infra/docker/build.sh [kafka] [clickhouse] [streamgauge]    all three without a name
# From the environment:
#   BASE=python:3.12-slim-bookworm   the image that all three stand on
#   DOCKER=docker                    the client; it must have BuildKit
#   BUILD_NETWORK=host               for a package index that only this machine can reach
# Settings of this machine's pip (index, proxy, certificates) reach the build as secrets, which no
# layer of an image keeps.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

docker=${DOCKER:-docker}
python=python3
[[ -x .venv/bin/python ]] && python=.venv/bin/python

secrets=$(mktemp -d)
trap 'rm -rf "$secrets"' EXIT

# Folders and files of this machine mean nothing inside a build: find-links, cert and the like stay.
"$python" -m pip --disable-pip-version-check config list |
    sed -nE "s/^[^=]*\.(index-url|extra-index-url|trusted-host|proxy|timeout|default-timeout)='(.*)'$/\1 = \2/p" |
    sed '1i [global]' >"$secrets/pip"

certificates=${PIP_CERT:-${REQUESTS_CA_BUNDLE:-${SSL_CERT_FILE:-}}}
options=(--secret "id=pip,src=$secrets/pip")
if [[ -f $certificates ]]; then
    options+=(--secret "id=certificates,src=$certificates")
fi
[[ -n ${BASE:-} ]] && options+=(--build-arg "BASE=$BASE")
[[ -n ${BUILD_NETWORK:-} ]] && options+=(--network "$BUILD_NETWORK")

for image in "${@:-kafka clickhouse streamgauge}"; do
    for name in $image; do
        tag=streamgauge-$name
        [[ $name == streamgauge ]] && tag=streamgauge
        echo "building $tag"
        DOCKER_BUILDKIT=1 "$docker" build "${options[@]}" --tag "$tag" \
            --file "infra/docker/$name/Dockerfile" .
    done
done
