"""Health check of a container: ask a path on its own loopback, end with 0 when it answers 200.

`alive.py PORT PATH`. Only the standard library and no proxy: the images have little else.
"""

import http.client
import sys

TIMEOUT_S = 3.0


def answers(port: int, path: str) -> bool:
    """Whether a server on this port answers 200 within TIMEOUT_S."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if answers(int(sys.argv[1]), sys.argv[2]) else 1)
