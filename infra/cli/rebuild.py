"""`streamgauge rebuild`: the books that recorded frames build, without any server.

It opens files and prints; what a recording amounts to is `core.rebuild`'s to say.
"""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Final

import click
import msgspec

from core.exchanges import UnknownExchangeError, exchange_of
from core.protocol import Exchange
from core.rebuild import Rebuilt, RebuiltBook, rebuild
from core.tape import TapeError, TapeReader
from infra.cli.failures import Failure

LINE_CHARACTERS_MAX: Final = 32 << 20
"""Longest line that is read: a frame with a whole book takes less than a tenth of it."""
_GZIP_MAGIC: Final = b"\x1f\x8b"
_COLUMNS: Final = ("instrument", "state", "levels", "best bid", "best ask", "snapshots", "checks")
_AT_THE_RIGHT: Final = ("levels", "best bid", "best ask", "snapshots")
_PLAIN_WIDTH: Final = 200
"""Columns of a line where no terminal says how wide it is."""


class _FileError(Exception):
    """A file cannot be used; the text says where and why."""


@click.command(name="rebuild")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path)
)
@click.option(
    "--exchange",
    metavar="NAME",
    help="Whose wire format it is, whatever the header says: deribit, binance, kraken, kraken_v1, "
    "kraken_futures, binance_usdm.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each file.")
def command(files: tuple[Path, ...], exchange: str | None, as_json: bool) -> None:
    """Rebuild order books from recorded frames and say how they fared.

    FILE is a recording of the form frames-tsv v1, gzip-compressed or plain. Its header names the
    exchange. A file that cannot be used, or of which no frame can be read, is reported, the others
    are done all the same, and the exit code is 1.

    \b
      streamgauge rebuild session.tsv.gz
      streamgauge rebuild *.tsv.gz --json | jq '.books | keys'
    """
    if exchange is not None:
        try:
            exchange_of(exchange)
        except UnknownExchangeError as error:
            raise click.BadParameter(str(error), param_hint="--exchange") from error
    failed = False
    for file in files:
        try:
            rebuilt = _rebuild_file(file, exchange)
        except _FileError as error:
            failed = True
            Failure(f"{file}: {error}").show()
            continue
        if as_json:
            line = {"file": str(file)} | msgspec.to_builtins(rebuilt)
            click.echo(msgspec.json.encode(line))
        else:
            _print_table(file, rebuilt)
        if 0 < rebuilt.frames <= rebuilt.decode_errors:
            failed = True
            Failure(
                f"{file}: no frame could be read as one of {rebuilt.exchange}'s",
                "See whether --exchange, or the header's exchange, is right.",
            ).show()
    if failed:
        sys.exit(1)


def _rebuild_file(file: Path, name: str | None) -> Rebuilt:
    reader: TapeReader | None = None
    try:
        with closing(_open(file)) as text:
            reader = TapeReader(_lines(text))
            return rebuild(reader, exchange_of(name) if name else _exchange_named_by(reader))
    except TapeError as error:
        raise _FileError(str(error)) from error
    except (EOFError, zlib.error) as error:
        raise _FileError(f"{_after(reader)}the compressed data ends too early: {error}") from error
    except UnicodeDecodeError as error:
        raise _FileError(f"{_after(reader)}not UTF-8 text: {error.reason}") from error
    except OSError as error:
        # Broken gzip data is an OSError too, without a code of the system's.
        raise _FileError(f"{_after(reader)}{error.strerror or error}") from error


def _exchange_named_by(reader: TapeReader) -> Exchange:
    if "exchange" not in reader.header:
        raise TapeError("line 1: expected a header `# exchange: NAME`; --exchange NAME will do")
    try:
        return exchange_of(reader.header["exchange"])
    except UnknownExchangeError as error:
        raise TapeError(f"line {reader.header_lines['exchange']}: {error}") from error


def _open(file: Path) -> IO[str]:
    with file.open("rb") as start:
        is_compressed = start.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    if is_compressed:
        return io.TextIOWrapper(gzip.open(file, "rb"), encoding="utf-8", newline="\n")
    return file.open(encoding="utf-8", newline="\n")


def _lines(text: IO[str]) -> Iterator[str]:
    number = 0
    while line := text.readline(LINE_CHARACTERS_MAX):
        number += 1
        if len(line) == LINE_CHARACTERS_MAX and not line.endswith("\n"):
            raise TapeError(f"line {number}: longer than {LINE_CHARACTERS_MAX} characters")
        yield line


def _after(reader: TapeReader | None) -> str:
    """Say how far the file could be read."""
    return f"after line {reader.line}: " if reader is not None else ""


def _print_table(file: Path, rebuilt: Rebuilt) -> None:
    """Print an aligned table: with styles on a terminal, plain elsewhere."""
    # Loaded when a table is printed: a program that reads JSON should not wait for it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    console.print(Text.assemble((str(file), "bold"), f" ({rebuilt.exchange})"))
    console.print(
        f"{_counted(rebuilt.frames, 'frame')}, {_counted(rebuilt.trades, 'trade')}, "
        f"{rebuilt.decode_errors:,} that could not be read, {_counted(len(rebuilt.books), 'book')}"
    )
    if rebuilt.ignored:
        counted = (f"{name} {count:,}" for name, count in rebuilt.ignored.items())
        console.print(Text(f"not needed: {', '.join(counted)}"))
    if rebuilt.books:
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for name in _COLUMNS:
            table.add_column(name, justify="right" if name in _AT_THE_RIGHT else "left")
        for symbol, book in rebuilt.books.items():
            cells = (Text(cell) for cell in _cells(symbol, book))
            table.add_row(*cells, style="" if book.in_sync else "red")
        console.print(table)
    console.print()


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _cells(symbol: str, book: RebuiltBook) -> tuple[str, ...]:
    return (
        symbol,
        "in sync" if book.in_sync else "not in sync",
        f"{book.bid_levels:,} + {book.ask_levels:,}",
        "-" if book.best_bid is None else book.best_bid[0],
        "-" if book.best_ask is None else book.best_ask[0],
        f"{book.snapshots:,}",
        _checks(book),
    )


def _checks(book: RebuiltBook) -> str:
    """Say what was found, by name and number."""
    found = [
        f"{text} {count:,}"
        for count, text in (
            (book.gaps, "gaps"),
            (book.duplicates, "repeats"),
            (book.crossed, "crossed"),
            (book.checksum_bad, "checksums wrong"),
            (book.checksum_ok, "checksums right"),
        )
        if count
    ]
    return ", ".join(found) or "-"
