"""Logs: one JSON object a line for programs, colours only for a person who wants them."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog

from infra.runtime import logs
from infra.runtime.settings import RuntimeSettings

COLOUR = "\x1b["


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def logged(
    *, level: Literal["debug", "info", "warning", "error"] = "info"
) -> tuple[io.StringIO, structlog.stdlib.BoundLogger]:
    stream = io.StringIO()
    logs.configure(RuntimeSettings(log_level=level), process="test", stream=stream)
    return stream, logs.logger("tests.logs")


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_event_is_one_json_line_with_its_fields() -> None:
    stream, log = logged()

    log.info("connected", exchange="kraken", attempts=2, text="two\nlines")

    (event,) = events(stream)
    assert event.pop("ts").endswith("Z")
    assert event == {
        "event": "connected",
        "exchange": "kraken",
        "attempts": 2,
        "text": "two\nlines",
        "level": "info",
        "logger": "tests.logs",
        "process": "test",
    }


def test_value_of_any_type_is_logged() -> None:
    stream, log = logged()

    log.info("odd", value=object(), number=float("nan"), raw=b"\xff", kind={1, 2})

    assert events(stream)[0]["event"] == "odd"


def test_library_event_looks_like_ours() -> None:
    stream, _ = logged()

    logging.getLogger("library").warning("slow by %d ms", 5)

    (event,) = events(stream)
    assert event["event"] == "slow by 5 ms"
    assert (event["logger"], event["level"]) == ("library", "warning")


def test_python_warning_is_logged() -> None:
    stream, _ = logged()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    assert "old" in events(stream)[0]["event"]


def test_exception_is_logged_with_its_traceback_on_one_line() -> None:
    stream, log = logged()

    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed")

    (event,) = events(stream)
    assert "ValueError: broken" in event["exception"]


@pytest.mark.parametrize(("level", "count"), [("debug", 3), ("info", 2), ("error", 0)])
def test_events_below_the_level_are_left_out(
    level: Literal["debug", "info", "error"], count: int
) -> None:
    stream, log = logged(level=level)

    log.debug("one")
    log.info("two")
    log.warning("three")

    assert len(events(stream)) == count


def test_logger_made_before_configuration_obeys_it() -> None:
    log = logs.logger("early")
    stream, _ = logged()

    log.info("late")

    assert events(stream)[0]["logger"] == "early"


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_terminal_gets_readable_lines_with_colours_unless_refused(
    monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    logs.configure(RuntimeSettings(), process="test", stream=stream)

    logs.logger("tests.logs").info("connected", exchange="kraken")

    assert "connected" in stream.getvalue()
    assert (COLOUR in stream.getvalue()) is coloured


def test_console_format_without_a_terminal_has_no_colours() -> None:
    stream = io.StringIO()
    logs.configure(RuntimeSettings(log_format="console"), process="test", stream=stream)

    logs.logger("tests.logs").info("connected", exchange="kraken")

    assert "exchange=kraken" in stream.getvalue()
    assert COLOUR not in stream.getvalue()
