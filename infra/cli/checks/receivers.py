"""Receivers of alerts: are their settings whole, and does something listen where they are?

Nothing is sent: a connection is opened and closed.
"""

import asyncio
import contextlib
import os
import urllib.request
from typing import Final
from urllib.parse import urlsplit

from infra.cli.checks import Finding, failed, ok, warning
from infra.runtime.settings import NotifySettings, Settings, SettingsError
from sinks.notify import options
from sinks.notify.options import Receiver

_CONNECT_S: Final = 5.0
_CHANGE_KEY: Final = "change that key; docs/settings.md lists all of them"


async def check_receivers(settings: Settings) -> list[Finding]:
    """Look at every receiver, silence and window of the settings; none where there are none."""
    notify = settings.notify
    looks = []
    findings = _check_windows(notify) + _check_limit(settings)
    for name, each in notify.receivers.items():
        if not each.enabled:
            continue
        try:
            looks.append(_check_receiver(options.receiver(name, each)))
        except SettingsError as error:
            findings.append(failed(f"receiver ({name})", str(error), _CHANGE_KEY))
    return [*findings, *await asyncio.gather(*looks)]


def _check_windows(notify: NotifySettings) -> list[Finding]:
    try:
        options.silences(notify)
    except SettingsError as error:
        return [failed("silences", str(error), _CHANGE_KEY)]
    return []


def _check_limit(settings: Settings) -> list[Finding]:
    kept_s = settings.topics.event_retention_hours * 3600
    if not settings.notify.receivers or settings.notify.give_up_after_s < kept_s:
        return []
    found = f"notify.give_up_after_s is {settings.notify.give_up_after_s}"
    advice = f"set it below {kept_s}: alerts are kept for topics.event_retention_hours only"
    return [warning("receivers", found, advice)]


async def _check_receiver(receiver: Receiver) -> Finding:
    check = f"receiver ({receiver.name})"
    url = urlsplit(receiver.address.reveal())
    assert url.hostname is not None, "an address without a host is refused before"
    if _has_proxy(url.scheme, url.hostname):
        return ok(check, f"{receiver.kind} at {receiver.host}, through the proxy: not looked at")
    is_tls = url.scheme == "https"
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(
                url.hostname, url.port or (443 if is_tls else 80), ssl=is_tls or None
            )
    except (OSError, TimeoutError) as error:
        number = getattr(error, "errno", None) or 0
        # asyncio writes addresses of its own into the text; of a name that is unknown it is the
        # resolver's.
        said = os.strerror(number) if number > 0 else getattr(error, "strerror", None)
        reason = said or type(error).__name__
        found = f"{receiver.kind} at {receiver.host} does not answer: {reason}"
        advice = "start it, or correct its address; alerts wait for notify.give_up_after_s"
        return warning(check, found, advice)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return ok(check, f"{receiver.kind} at {receiver.host} listens; nothing was sent")


def _has_proxy(scheme: str, host: str) -> bool:
    return scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)
