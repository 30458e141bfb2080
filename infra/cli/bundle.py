"""`streamgauge bundle`: one incident in one file, which replays to its alert with nothing else.

Arguments, and the members of the file that are for people; the rest is `processors.bundle`,
`processors.capture` and `processors.bundle_file`.
"""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from infra.cli.failures import Failure, require_topics
from infra.cli.incident_text import incident_text
from infra.runtime.settings import Settings
from infra.version import VERSION
from schemas.topics import VENUES

if TYPE_CHECKING:
    from processors.bundle import Bundle, Recomputed

_FACTS = {"stability": "seconds.jsonl", "books": "books.jsonl", "faults": "faults.jsonl"}
"""Kinds of facts that a bundle has as text, and where."""
_FACTS_OF_VENUES = _FACTS | {VENUES: "venues.jsonl"}
"""Those of one that has mids."""


@click.command()
@click.argument("alert_id", required=False)
@click.option(
    "--verify",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Replay a bundle and compare, with nothing but the file.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write it; incident-….zip in this folder otherwise.",
)
@click.option(
    "--follow",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write every incident from now on into FOLDER, until Ctrl-C.",
)
@click.option(
    "--keep-mb",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="With --follow: the oldest bundles go beyond that, MB.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(
    settings: Settings,
    alert_id: str | None,
    file: Path | None,
    output: Path | None,
    folder: Path | None,
    keep_mb: int,
    as_json: bool,
) -> None:
    """Put the incident ALERT_ID into one file, --verify such a file, or --follow all incidents.

    ALERT_ID is that of the table incidents, or a part of it that only one alert has. The file holds
    the raw frames of its connection from a warm-up before it to its end (at most ten minutes), what
    had been written down of the time before, the alert as it was published, and in words and JSON
    what follows from them: docs/bundles.md. One of venues (divergence, frozen_price) holds the mids
    of all of them, and the raw frames of the one that is named. It is taken from Kafka, so the
    records must still be there, and it is replayed before it is written.

    \b
      streamgauge bundle gap/kraken/kraken-0/A/book/BTC/USD/1795852638391207773-1808
      streamgauge bundle --verify incident-gap-kraken-….zip
      streamgauge bundle --follow var/bundles

    With --follow an incident is written when it is resolved, or has lasted for ten minutes; one
    that is restarted goes on where it was. `/live`, `/ready` and `/metrics` are then at
    runtime.health_port.

    Exit code 0: the replay gives the published alert, byte for byte; 1: it does not, or there is no
    such alert or file.
    """
    if [alert_id, file, folder].count(None) != 2:
        raise click.UsageError("give an ALERT_ID, or --verify FILE, or --follow FOLDER")
    if folder is not None:
        from infra.runtime.process import run

        run(_follow(settings, folder, keep_mb << 20))
    elif file is not None:
        _verify(file, as_json=as_json)
    else:
        assert alert_id is not None
        _make(settings, alert_id, output, as_json=as_json)


def _make(settings: Settings, alert_id: str, output: Path | None, *, as_json: bool) -> None:
    from processors.bundle import differences, recompute
    from processors.bundle_file import file_name, write_bundle
    from processors.capture import Capture, CaptureError

    try:
        bundle = asyncio.run(Capture(settings, version=VERSION).take(alert_id))
    except CaptureError as error:
        raise Failure(str(error), "`SELECT alert_id FROM incidents` lists them.") from error
    recomputed = recompute(bundle)
    found = differences(bundle, recomputed)
    file = output or Path(file_name(bundle.about.alert_id))
    try:
        size = write_bundle(file, bundle, derived(bundle, recomputed))
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror}") from error
    if found:
        found.append(
            "the settings or the version are others than when it was published"
            if bundle.about.judged.is_whole
            else "the log no longer has the whole warm-up before it"
        )
    _say(bundle, file, found, size=size, as_json=as_json)


async def _follow(settings: Settings, folder: Path, bytes_max: int) -> None:
    from infra.runtime.process import Runtime
    from processors.bundler import Bundler
    from processors.capture import Capture
    from schemas.topics import ALERTS, event_topic

    await require_topics(settings, [event_topic(ALERTS, settings.topics.prefix)])
    async with Runtime("bundle", settings.runtime) as runtime:
        capture = Capture(settings, version=VERSION)
        bundler = Bundler(
            settings, runtime, folder, bytes_max=bytes_max, capture=capture, derive=derived
        )
        await bundler.run()


def _verify(file: Path, *, as_json: bool) -> None:
    from core.exchanges import UnknownExchangeError
    from processors.bundle import differences, recompute
    from processors.bundle_file import BundleFileError, read_bundle
    from schemas.registry import CodecError

    try:
        bundle, members = read_bundle(file)
        recomputed = recompute(bundle)
        found = differences(bundle, recomputed)
    except (BundleFileError, CodecError, UnknownExchangeError) as error:
        raise Failure(f"{file}: {error}") from error
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}") from error
    again = derived(bundle, recomputed)
    found += [
        f"{name} does not follow from the records"
        for name in sorted(members.keys() | again.keys())
        if members.get(name) != again.get(name)
    ]
    if found and bundle.about.streamgauge != VERSION:
        found.append(f"it was made by version {bundle.about.streamgauge}, this is {VERSION}")
    _say(bundle, file, found, size=file.stat().st_size, as_json=as_json)


def derived(bundle: "Bundle", recomputed: "Recomputed") -> dict[str, bytes]:
    """Return the members for people, by name: all follow from the rest of the bundle."""
    from infra.cli.facts import outputs
    from schemas.codec import decode_output

    names = _FACTS if bundle.about.mids is None else _FACTS_OF_VENUES
    lines: dict[str, list[bytes]] = {name: [] for name in names.values()}
    for kind, value in recomputed.outputs:
        if kind in names:
            facts = outputs(decode_output(kind, value))
            lines[names[kind]] += [msgspec.json.encode(fact) + b"\n" for fact in facts]
    members = {name: b"".join(found) for name, found in lines.items()}
    return members | {"README.txt": incident_text(bundle, recomputed).encode()}


def _say(bundle: "Bundle", file: Path, found: list[str], *, size: int, as_json: bool) -> None:
    about = bundle.about
    if as_json:
        outcome = {
            "equal": not found,
            "alert_id": about.alert_id,
            "file": str(file),
            "bytes": size,
            "raw_records": len(bundle.raw),
            "mids": len(bundle.mids),
            "resolves": about.resolves,
            "differences": found,
        }
        click.echo(msgspec.json.encode(outcome))
    else:
        held = f"{len(bundle.raw)} raw records"
        if about.mids is not None:
            held = f"{len(bundle.mids)} mids, {held}"
        click.echo(f"{about.alert_id}\n{file}: {held}, {size:,} bytes")
        for difference in found:
            click.echo(click.style(difference, fg="red"))
        until = "opening and resolution" if about.resolves else "opening"
        verdict = f"replays to its {until}, byte for byte"
        click.echo(click.style("does not replay", fg="red") if found else verdict)
    sys.exit(1 if found else 0)
