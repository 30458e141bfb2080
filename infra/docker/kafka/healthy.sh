#!/usr/bin/env bash
# Health check of Kafka: an ApiVersions request (key 18, version 0) to the first listener, which a
# broker answers only after it has joined its controller. The answer: length, the request's number, no error.
set -euo pipefail
listener=$(sed -n 's/^listeners=//p' /var/lib/kafka/server.properties | tail -n 1)
listener=${listener%%,*}
exec 3<>"/dev/tcp/127.0.0.1/${listener##*:}"
printf '\0\0\0\12\0\22\0\0\0\0\0\7\377\377' >&3
answer=$(head -c 10 <&3 | od -An -tx1 -j4 | tr -d ' \n')
[[ $answer == 000000070000 ]]
