"""Where `faust -A processors.app worker` finds the app.

The app is made when it is first asked for: importing this module reads no settings, needs no
Kafka and cannot fail.
"""

from functools import cache
from typing import Any

import click

from infra.runtime.settings import SettingsError, load
from processors.worker import ProcessorApp, create_app


@cache
def _app() -> ProcessorApp:
    return create_app(load())


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return _app()
    except SettingsError as error:
        # Faust's command line is click's: it prints this as one line and ends with code 2.
        raise click.UsageError(f"setting {error}") from error
