"""`streamgauge doctor`: check what the pipeline stands on, and say what to do."""

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
import tomli_w

from infra.cli.checks import Finding, Status, failed
from infra.cli.checks.machine import check_disk, check_settings
from infra.runtime.settings import Settings, effective, load

if TYPE_CHECKING:
    from core.protocol import Endpoints

_COLOURS: Final = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.option(
    "--settings", "show_settings", is_flag=True, help="Show the settings in force and end."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("var"),
    show_default=True,
    help="Where local servers keep their data; its disk is looked at.",
)
def command(as_json: bool, show_settings: bool, folder: Path) -> None:
    """Check settings, Kafka, ClickHouse, symbols, clocks, receivers of alerts and disk.

    It says what to do. Exit code 0 where nothing failed, else 1. It changes and sends nothing.
    """
    if show_settings:
        _print_settings(load(), as_json=as_json)
        return
    # What a client logs about a server that is away, a finding says better.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    findings = asyncio.run(_findings(folder.absolute()))
    worked = all(finding.status is not Status.FAILED for finding in findings)
    if as_json:
        answer = {"ok": worked, "findings": findings}
        click.echo(msgspec.json.encode(answer).decode())
    else:
        for finding in findings:
            _print(finding)
    click.get_current_context().exit(0 if worked else 1)


async def _findings(folder: Path) -> list[Finding]:
    settings, findings = check_settings()
    if settings is not None:
        findings += await _look_outside(settings)
    return [*findings, check_disk(folder)]


async def _look_outside(settings: Settings) -> list[Finding]:
    from infra.cli.checks.clock import check_clickhouse_clock, check_exchange_clock
    from infra.cli.checks.exchange import check_exchange
    from infra.cli.checks.receivers import check_receivers
    from infra.cli.checks.servers import check_clickhouse, check_kafka

    exchanges: list[Coroutine[Any, Any, Finding | None]] = []
    findings = []
    for name, exchange in settings.exchanges.items():
        if not exchange.enabled:
            continue
        if endpoints := _endpoints(name):
            rest_url = exchange.rest_url or endpoints.rest
            exchanges.append(check_exchange_clock(name, rest_url))
            exchanges.append(check_exchange(name, rest_url, endpoints, exchange.symbols))
        else:
            advice = f"take [exchanges.{name}] away, or see docs/adding-a-venue.md"
            findings.append(failed(f"exchange ({name})", "is not an exchange we know", advice))
    (kafka, clickhouse, clock), looks, receivers = await asyncio.gather(
        asyncio.gather(
            check_kafka(settings),
            asyncio.to_thread(check_clickhouse, settings.clickhouse),
            asyncio.to_thread(check_clickhouse_clock, settings.clickhouse),
        ),
        asyncio.gather(*exchanges),
        check_receivers(settings),
    )
    found = [*kafka, *clickhouse, clock, *looks, *receivers]
    return [*findings, *(finding for finding in found if finding is not None)]


def _endpoints(name: str) -> "Endpoints | None":
    """Return the exchange's own addresses, None for a name that no module carries."""
    from core.exchanges import exchanges

    exchange = exchanges().get(name)
    return exchange.endpoints if exchange else None


def _print_settings(settings: Settings, *, as_json: bool) -> None:
    tree = effective(settings)
    if as_json:
        click.echo(msgspec.json.encode(tree).decode())
    else:
        click.echo(tomli_w.dumps(tree), nl=False)


def _print(finding: Finding) -> None:
    word = click.style(f"{finding.status.value:<8}", fg=_COLOURS[finding.status])
    click.echo(f"{word} {finding.check}: {finding.found}")
    if finding.advice:
        click.echo(f"{'':<8} {click.style('→', dim=True)} {finding.advice}")
