"""A notifier that kills itself right after a named step of its nth task at one receiver."""

import asyncio
import os
import signal
import sys

from core.notify.agenda import Task
from infra.runtime.process import Runtime
from infra.runtime.settings import load
from sinks.notify.courier import Step
from sinks.notify.worker import NotifyWorker


async def main(step: Step, tasks: int, receiver: str) -> None:
    """Serve until the step is reached."""
    left = tasks

    def reached(now: Step, task: Task) -> None:
        nonlocal left
        if now is step and task.receiver == receiver:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    settings = load()
    async with Runtime("notify", settings.runtime) as runtime:
        await NotifyWorker(settings, runtime, reached=reached).run()


if __name__ == "__main__":
    asyncio.run(main(Step(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
