"""What a person sees while the pipeline runs: a live table on a terminal, else a line at a time."""

import sys
from collections.abc import Mapping
from typing import Final

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.run.watch import Flow, Lag

LINE_EVERY_S: Final = 5
"""Seconds between two lines where no terminal is looking."""


class View(msgspec.Struct, frozen=True):
    """One look at the running pipeline; memory in MiB by process."""

    elapsed_s: int
    seconds: int | None
    flow: Flow
    rate: float
    lag: Lag
    memory: Mapping[str, float]
    tops: list[tuple[str, str, str, str]]


class Screen:
    """Shows views until it is closed."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._last_line = -LINE_EVERY_S

    def step(self, text: str) -> None:
        """Say what is being started or ended."""
        self._console.print(Text(f"· {text}", style="cyan"), highlight=False, soft_wrap=True)

    def problem(self, text: str) -> None:
        """Say what is wrong."""
        self._console.print(Text(text, style="bold red"), highlight=False, soft_wrap=True)

    def show(self, view: View) -> None:
        """Show one view."""
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=2, transient=True)
                self._live.start()
            self._live.update(picture(view))
        elif view.elapsed_s - self._last_line >= LINE_EVERY_S:
            self._last_line = view.elapsed_s
            sys.stderr.write(_line(view) + "\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Take the live table away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _line(view: View) -> str:
    flow = view.flow
    return (
        f"{view.elapsed_s:>5} s  {view.rate:>7.0f} frames/s  {flow.trades} trades  "
        f"{flow.books} books  {flow.faults} faults  lag {view.lag.raw}+{view.lag.events}  "
        f"latency p50 {_ms(flow.latency_ms_p50)} p99 {_ms(flow.latency_ms_p99)}"
    )


def picture(view: View) -> Group:
    """Return what a terminal shows of one view."""
    flow = view.flow
    until = "until Ctrl-C" if view.seconds is None else f"of {view.seconds} s"
    head = Text(f"streamgauge: {view.elapsed_s} s {until}", style="bold")
    # Narrow enough for a terminal of 80 columns.
    numbers = Table(show_header=True, header_style="dim", box=None, padding=(0, 1))
    for name in ("frames/s", "frames", "trades", "books", "faults", "lag", "p50", "p99"):
        numbers.add_column(name, justify="right")
    numbers.add_row(
        f"{view.rate:.0f}",
        str(flow.frames),
        str(flow.trades),
        str(flow.books),
        Text(str(flow.faults), style="red" if flow.faults else ""),
        f"{view.lag.raw}+{view.lag.events}",
        _ms(flow.latency_ms_p50),
        _ms(flow.latency_ms_p99),
    )
    tops = Table(show_header=True, header_style="dim", box=None, padding=(0, 2))
    for name in ("exchange", "symbol", "best bid", "best ask"):
        tops.add_column(name, justify="left" if name in ("exchange", "symbol") else "right")
    for exchange, symbol, bid, ask in view.tops:
        tops.add_row(exchange, symbol, bid, ask)
    sizes = " ".join(f"{name} {size:.0f}" for name, size in view.memory.items())
    memory = Text(f"MiB {sizes}", style="dim", no_wrap=True, overflow="ellipsis")
    return Group(head, numbers, tops, memory)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
