"""A sink that kills itself right after a named step of its nth block."""

import asyncio
import os
import signal
import sys

from core.blocks import Block
from infra.runtime.process import Runtime
from infra.runtime.settings import load
from sinks.delivery import Step
from sinks.worker import SinkWorker


async def main(step: Step, blocks: int) -> None:
    """Serve until the step is reached."""
    left = blocks

    def reached(now: Step, block: Block) -> None:
        nonlocal left
        if now is step:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    settings = load()
    async with Runtime("sink", settings.runtime) as runtime:
        await SinkWorker(settings, runtime, reached=reached).run()


if __name__ == "__main__":
    asyncio.run(main(Step(sys.argv[1]), int(sys.argv[2])))
