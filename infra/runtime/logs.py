"""Logs as events with fields: coloured lines on a terminal, one JSON object a line elsewhere.

What libraries log with the standard module goes the same way. Logs go to standard error, so
that a command's result on standard output stays clean. Never log a frame above debug.
"""

import logging
import os
import sys
from collections.abc import Iterable
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.typing import Processor

from infra.runtime.settings import RuntimeSettings

_NOISY: Final = {
    # Each logs every request or heartbeat at info, and every record at debug.
    "aiohttp.access": logging.WARNING,
    "aiokafka": logging.WARNING,
    "asyncio": logging.WARNING,
    "kafka": logging.WARNING,
    "urllib3": logging.WARNING,
    "websockets": logging.WARNING,
}


def configure(settings: RuntimeSettings, *, process: str, stream: TextIO | None = None) -> None:
    """Send every log event of this process to `stream`, standard error by default.

    `process` is a field of each event, such as `producer`. Call it once, in the entry point;
    a second call replaces the first.
    """
    stream = stream or sys.stderr
    steps = _shared_steps()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=steps,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_last_steps(settings, stream),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name, level in _NOISY.items():
        logging.getLogger(name).setLevel(max(level, root.level))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *steps,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(process=process)


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module: `log = logger(__name__)`, `log.info("event", field=1)`."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


def colours(stream: TextIO) -> bool:
    """Return whether a person with a colour terminal reads `stream` (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _shared_steps() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.StackInfoRenderer(),
    ]


def _last_steps(settings: RuntimeSettings, stream: TextIO) -> Iterable[Processor]:
    console = settings.log_format == "console" or (
        settings.log_format == "auto" and stream.isatty()
    )
    if console:
        return [
            structlog.dev.ConsoleRenderer(
                colors=colours(stream),
                timestamp_key="ts",
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _json(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()
