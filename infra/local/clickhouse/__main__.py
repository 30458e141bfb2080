"""The process that holds the engine: `python -m infra.local.clickhouse --folder F --port P`.

Started by `ClickHouseServer`. The password comes from the environment, where other users of the
machine cannot see it. SIGTERM lets running statements finish and closes the engine.

In a container `--host 0.0.0.0` lets other containers in, under each `--name`, by password only.
"""

import argparse
import asyncio
import logging
import os
import shutil
import signal
import sys
from pathlib import Path

from infra.local.clickhouse.engine import Engine
from infra.local.clickhouse.process import PASSWORD_VARIABLE
from infra.local.clickhouse.request import LOOPBACK_NAMES, Account
from infra.local.clickhouse.server import Limits, Server
from infra.local.clickhouse.sessions import EngineError
from infra.local.process import HOST


def main() -> int:
    """Serve until SIGTERM; 1 if the folder cannot be opened or the port not be bound."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.clickhouse")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--memory-mb", type=int, required=True)
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--name", action="append", default=[], type=str.lower)
    options = parser.parse_args()
    password = os.environ.get(PASSWORD_VARIABLE, "")
    if options.host != HOST and not password:
        parser.error(f"other machines can reach {options.host}: set {PASSWORD_VARIABLE}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    scratch = options.folder / "scratch"
    # What a crash left behind belongs to nobody.
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        engine = Engine(options.folder / "data", options.memory_mb)
        names = LOOPBACK_NAMES.union(options.name)
        server = Server(engine, scratch, Account(password=password), Limits(), names)
        asyncio.run(_serve(server, options.host, options.port))
    except (EngineError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def _serve(server: Server, host: str, port: int) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    runner = await server.listen(host, port)
    logging.info("listening on %s:%d", host, port)
    await ended.wait()
    logging.info("stopping")
    await runner.cleanup()
    server.close()
    logging.info("stopped")


if __name__ == "__main__":
    sys.exit(main())
