"""From settings to what the notifier works with; what is missing or wrong is refused by its key.

Nothing here connects to anything. Secrets are looked at here only, by the one process that has
them: the others read the same file.
"""

from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Final, get_args
from urllib.parse import urlsplit

import msgspec

from core.notify.damping import Damping
from core.notify.silences import Matchers, Once, Silence, Weekly
from core.stability.alerts import AlertKind, Severity
from infra.runtime.settings import (
    MaintenanceSettings,
    NotifySettings,
    ReceiverSettings,
    Secret,
    SettingsError,
    SilenceSettings,
)
from infra.runtime.settings.notify import Weekday
from infra.runtime.settings.reading import PREFIX
from sinks.notify.formats import ALERTS_PATH, PAGERDUTY_URL
from sinks.notify.wording import Links

_S: Final = 1_000_000_000
_CHANNELS: Final = ("connection", "data", "book", "trades")
_WEEKDAYS: Final = get_args(Weekday)
_EVER: Final = 0


class Receiver(msgspec.Struct, frozen=True):
    """A receiver as it is posted to; `address` and `routing_key` may be secret."""

    name: str
    kind: str
    address: Secret
    routing_key: Secret
    token: Secret
    severity_min: Severity
    is_binary: bool
    timeout_s: float

    @property
    def host(self) -> str:
        """Host and port of its address, which may be said aloud."""
        parts = urlsplit(self.address.reveal())
        return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def receivers(notify: NotifySettings) -> list[Receiver]:
    """Return the enabled receivers.

    Raises:
        SettingsError: one has no address, or no key where it needs one.
    """
    return [receiver(name, each) for name, each in notify.receivers.items() if each.enabled]


def receiver(name: str, settings: ReceiverSettings) -> Receiver:
    """Return a receiver of the settings.

    Raises:
        SettingsError: it has no address, or no key where it needs one.
    """
    key = f"notify.receivers.{name}"
    if settings.kind == "pagerduty" and not settings.routing_key:
        raise _missing(f"{key}.routing_key", "the integration key of a PagerDuty service")
    return Receiver(
        name=name,
        kind=settings.kind,
        address=_address(key, settings),
        routing_key=settings.routing_key,
        token=settings.token,
        severity_min=Severity[settings.severity_min.upper()],
        is_binary=settings.content == "binary",
        timeout_s=settings.timeout_ms / 1000,
    )


def _address(key: str, settings: ReceiverSettings) -> Secret:
    if settings.url and settings.secret_url:
        problem = "is set beside secret_url"
        raise SettingsError(f"{key}.url", problem, allowed="one of url and secret_url")
    url = settings.url or settings.secret_url.reveal()
    if not url:
        if settings.kind == "pagerduty":
            return Secret(PAGERDUTY_URL)
        if settings.kind == "slack":
            raise _missing(f"{key}.secret_url", "the address of an incoming webhook")
        raise SettingsError(f"{key}.url", "is empty", allowed="its address, or secret_url")
    if not _is_address(url):
        # The value stays unsaid: it is a secret, or was meant to be one.
        problem = "is no address"
        allowed = "an address that begins with http:// or https://"
        raise SettingsError(f"{key}.secret_url", problem, allowed=allowed)
    return Secret(url.rstrip("/") + ALERTS_PATH if settings.kind == "alertmanager" else url)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return known and not any(each.isspace() for each in url)


def _missing(key: str, what: str) -> SettingsError:
    variable = PREFIX + key.upper().replace(".", "__")
    return SettingsError(key, "is empty", allowed=f"{what}, in {variable}")


def silences(notify: NotifySettings) -> list[Silence]:
    """Return the silences and maintenance windows of the settings.

    Raises:
        SettingsError: one names a kind or channel that there is not.
    """
    found = []
    for name, each in notify.silences.items():
        key = f"notify.silences.{name}"
        assert each.ends is not None, "settings are checked when they are read"
        starts = _EVER if each.starts is None else nanoseconds(each.starts)
        window = Once(starts, nanoseconds(each.ends))
        found.append(Silence(name, _matchers(key, each), window, each.reason))
    for name, planned in notify.maintenance.items():
        key = f"notify.maintenance.{name}"
        found.append(Silence(name, _matchers(key, planned), _window(planned), planned.reason))
    return found


def _window(planned: MaintenanceSettings) -> Once | Weekly:
    if planned.starts is not None and planned.ends is not None:
        return Once(nanoseconds(planned.starts), nanoseconds(planned.ends))
    hours, minutes = map(int, planned.at.split(":"))
    days = tuple(_WEEKDAYS.index(day) for day in planned.weekdays)
    return Weekly(days, (hours * 60 + minutes) * 60 * _S, planned.minutes * 60 * _S)


def _matchers(key: str, settings: SilenceSettings | MaintenanceSettings) -> Matchers:
    matchers = Matchers(**{name: getattr(settings, name) for name in Matchers.__struct_fields__})
    if wrong := unknown(matchers):
        name, value, known = wrong
        problem = f"has {value!r}, which matches none"
        raise SettingsError(f"{key}.{name}", problem, allowed=", ".join(known))
    return matchers


def unknown(matchers: Matchers) -> tuple[str, str, tuple[str, ...]] | None:
    """Return a pattern that can match nothing, with its list's name and what there is."""
    kinds = tuple(kind.name.lower() for kind in AlertKind)
    severities = tuple(severity.name.lower() for severity in Severity)
    lists: Mapping[str, tuple[str, ...]] = {
        "kinds": kinds,
        "channels": _CHANNELS,
        "severities": severities,
    }
    for name, known in lists.items():
        for pattern in getattr(matchers, name):
            if not any(fnmatchcase(each, pattern) for each in known):
                return name, pattern, known
    return None


def damping(notify: NotifySettings) -> Damping:
    """Return how what flaps is damped."""
    return Damping(notify.flap_openings, notify.flap_window_s * _S, notify.flap_hold_s * _S)


def links(notify: NotifySettings) -> Links:
    """Return where deliveries point."""
    return Links(notify.runbook_base_url, notify.link_url)


def nanoseconds(moment: datetime) -> int:
    """Return a time with its zone as ns since the epoch; microseconds are the finest."""
    return round(moment.timestamp() * 1_000_000) * 1000
