"""This machine: its settings and the room on its disk."""

import os
import shutil
from pathlib import Path
from typing import Final

from infra.cli.checks import Finding, failed, ok, warning
from infra.runtime.settings import Settings, SettingsError, find_file, load
from infra.runtime.settings.reading import PREFIX

_FREE_LEAST: Final = 1 << 30
_FREE_AMPLE: Final = 10 << 30


def check_settings() -> tuple[Settings | None, list[Finding]]:
    """Read the settings; None where they are wrong."""
    try:
        settings = load()
    except SettingsError as error:
        advice = "change that key; docs/settings.md lists all of them"
        return None, [failed("settings", str(error), advice)]
    file = find_file()
    found = f"from {file}" if file else "no file"
    if overridden := sum(name.startswith(PREFIX) for name in os.environ):
        found += f", {overridden} of the environment"
    # Faust takes a while to import: the other commands should not wait for it.
    from processors.options import warmup_least_s

    findings = [ok("settings", found)]
    if not any(exchange.enabled for exchange in settings.exchanges.values()):
        advice = "add a table such as [exchanges.kraken] with symbols, or use `streamgauge run`"
        findings.append(warning("exchanges", "none is enabled", advice))
    least = warmup_least_s(settings)
    if settings.processor.warmup_s <= least:
        found = f"processor.warmup_s is {settings.processor.warmup_s}"
        advice = (
            f"set it above {least}, twice producer.snapshot_interval_s and the time between a"
            " stream's checkpoints: a restarted worker may lack one of them"
        )
        findings.append(warning("warmup", found, advice))
    return settings, findings


def check_disk(folder: Path) -> Finding:
    """Look for room where a local Kafka and ClickHouse keep their data."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(existing)
    found = f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.0f} GiB free at {existing}"
    if usage.free < _FREE_LEAST:
        return failed("disk", found, "make room: Kafka and ClickHouse stop when the disk is full")
    if usage.free < _FREE_AMPLE:
        return warning("disk", found, "make room, or lower topics.raw_retention_hours")
    return ok("disk", found)
