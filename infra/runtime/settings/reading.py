"""One TOML file and the environment become `Settings`, or an error that says what to change.

Every key is checked by itself, so that an error names the key as its author wrote it. Secrets
are taken from the environment alone, or from files that it names. Nothing is connected to.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_origin

import msgspec

from infra.runtime.settings.allowed import allowed
from infra.runtime.settings.notify import MaintenanceSettings, NotifySettings, SilenceSettings
from infra.runtime.settings.sections import ExchangeSettings, KafkaSettings, Settings
from infra.runtime.settings.values import Secret, Section

FILE_VARIABLE: Final = "STREAMGAUGE_CONFIG"
"""Names the settings file, for this process and the ones that it starts."""
PREFIX: Final = "STREAMGAUGE__"
"""Begins the variables that override one key: `STREAMGAUGE__KAFKA__BOOTSTRAP`."""
SECRET_FILE: Final = "_FILE"
"""Ends the variables that name a file which holds a secret, as orchestrators mount them."""
USUAL_FILES: Final = ("streamgauge.toml", "var/run.toml")
"""Looked for in the working folder; a running `streamgauge run` writes the second."""

_EXCHANGE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")
_NAME: Final = re.compile(r"(?=.{1,40}$)[a-z][a-z0-9]*(_[a-z0-9]+)*")
_MATCHERS: Final = ("exchanges", "shards", "channels", "symbols", "kinds", "severities")
_AnySection = TypeVar("_AnySection", bound=Section)


class SettingsError(Exception):
    """A setting is wrong: which `key`, what was found, what is `allowed`, and where it stands."""

    def __init__(self, key: str, problem: str, *, allowed: str = "", source: str = "") -> None:
        self.key = key
        self.problem = problem
        self.allowed = allowed
        self.source = source
        place = f" ({source})" if source else ""
        advice = f"; allowed: {allowed}" if allowed else ""
        super().__init__(f"{key}{place}: {problem}{advice}")


class _Override(msgspec.Struct, frozen=True):
    """A value from the environment: text whose type is the key's."""

    text: str
    variable: str


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Read the settings from `path`, or from the file that `find_file` finds.

    Raises:
        SettingsError: a file cannot be read, a key is unknown, or a value is not allowed.
    """
    environ = os.environ if environ is None else environ
    file = path or find_file(environ=environ, folder=folder)
    tree = _parsed(file) if file else {}
    for variable in sorted(environ):
        if variable.startswith(PREFIX):
            _override(tree, variable, environ)
    settings = _section(Settings, tree, (), str(file) if file else "")
    _check(settings)
    return settings


def find_file(
    *, environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> Path | None:
    """Return the settings file in force: the variable's, else the first usual one, else None."""
    environ = os.environ if environ is None else environ
    if named := environ.get(FILE_VARIABLE):
        return Path(named)
    candidates = ((folder or Path()) / name for name in USUAL_FILES)
    return next((path for path in candidates if path.is_file()), None)


def is_secret(key: str) -> bool:
    """Say whether a key such as `kafka.sasl_password` is a secret."""
    annotation: Any = Settings
    for name in key.split("."):
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        elif isinstance(annotation, type) and issubclass(annotation, Section):
            fields = {field.name: field.type for field in msgspec.structs.fields(annotation)}
            annotation = fields.get(name)
        else:
            return False
    return annotation is Secret


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(str(path), f"is not UTF-8 text: {error.reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(str(path), f"is not TOML: {error}") from error


def _override(tree: dict[str, Any], variable: str, environ: Mapping[str, str]) -> None:
    text, named = environ[variable], variable
    short = variable.removesuffix(SECRET_FILE)
    if short != variable and is_secret(".".join(_keys(short))):
        if short in environ:
            problem = f"is set by {short}, too"
            raise SettingsError(".".join(_keys(short)), problem, allowed="one", source=variable)
        named, text = short, _secret_text(Path(text), variable)
    keys = _keys(named)
    for position, key in enumerate(keys[:-1]):
        inner = tree.setdefault(key, {})
        if not isinstance(inner, dict):
            name = ".".join(keys[: position + 1])
            raise SettingsError(name, "has no keys of its own", source=variable)
        tree = inner
    tree[keys[-1]] = _Override(text, variable)


def _keys(variable: str) -> list[str]:
    return variable.removeprefix(PREFIX).lower().split("__")


def _secret_text(file: Path, variable: str) -> str:
    """Return what a file holds, without the end of line that editors put there."""
    key = ".".join(_keys(variable.removesuffix(SECRET_FILE)))
    try:
        text = file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        problem = f"{file} cannot be read: {error.strerror}"
        raise SettingsError(key, problem, source=variable) from error
    except UnicodeDecodeError as error:
        raise SettingsError(key, f"{file} is not UTF-8 text", source=variable) from error
    if not text or "\n" in text:
        problem = f"{file} holds {'more than one line' if text else 'nothing'}"
        raise SettingsError(key, problem, allowed="one line, the secret", source=variable)
    return text


def _section(cls: type[_AnySection], tree: Any, path: tuple[str, ...], source: str) -> _AnySection:
    table = _table(tree, path, source)
    fields = {field.name: field for field in msgspec.structs.fields(cls)}
    for key in table:
        if key not in fields:
            raise _unknown((*path, key), table[key], list(fields), source)
    for key, field in fields.items():
        if field.required and key not in table:
            key = ".".join((*path, key))
            raise SettingsError(key, "is missing", allowed=allowed(field.type), source=source)
    values = {
        key: _value(fields[key].type, value, (*path, key), source) for key, value in table.items()
    }
    return cls(**values)


def _value(annotation: Any, value: Any, path: tuple[str, ...], source: str) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return _section(annotation, value, path, source)
    if get_origin(annotation) is dict:
        inner = get_args(annotation)[1]
        table = _table(value, path, source)
        _check_names(table, path, source, is_exchanges=inner is ExchangeSettings)
        return {key: _value(inner, each, (*path, key), source) for key, each in table.items()}
    if annotation is Secret:
        return _secret(value, path, source)
    return _leaf(annotation, value, path, source)


def _table(value: Any, path: tuple[str, ...], source: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if isinstance(value, _Override):
        source = value.variable
    raise SettingsError(".".join(path), "is a table, not a value", source=source)


def _leaf(annotation: Any, value: Any, path: tuple[str, ...], source: str) -> Any:
    found, strict = value, True
    if isinstance(value, _Override):
        source, found, strict = value.variable, value.text, False
        value = _from_text(annotation, found)
    try:
        return msgspec.convert(value, annotation, strict=strict)
    except msgspec.ValidationError:
        problem = f"is {_shortened(found)}"
        raise SettingsError(
            ".".join(path), problem, allowed=allowed(annotation), source=source
        ) from None


def _from_text(annotation: Any, text: str) -> Any:
    if get_origin(annotation) is tuple:
        return [item.strip() for item in text.split(",")] if text.strip() else []
    return text


def _secret(value: Any, path: tuple[str, ...], source: str) -> Secret:
    if isinstance(value, _Override):
        return Secret(value.text)
    variable = PREFIX + "__".join(path).upper()
    problem = f"is a secret: set it in the environment, {variable}, or {variable}{SECRET_FILE}"
    raise SettingsError(".".join(path), problem, source=source)


def _unknown(path: tuple[str, ...], value: Any, known: list[str], source: str) -> SettingsError:
    if isinstance(value, _Override):
        source = value.variable
    elif isinstance(value, dict):
        overrides = [each.variable for each in value.values() if isinstance(each, _Override)]
        source = overrides[0] if overrides else source
    close = difflib.get_close_matches(path[-1], known, n=1)
    advice = f"; did you mean {'.'.join((*path[:-1], close[0]))}?" if close else ""
    return SettingsError(
        ".".join(path), f"is not a setting{advice}", allowed=", ".join(known), source=source
    )


def _check_names(
    table: dict[str, Any], path: tuple[str, ...], source: str, *, is_exchanges: bool
) -> None:
    for name in table:
        # An exchange's name is part of a topic's name and of every row. Other names may stand in a
        # variable, where two underscores divide.
        if not (_EXCHANGE_NAME if is_exchanges else _NAME).fullmatch(name):
            limit = (
                "_, all small, at most 31" if is_exchanges else "single _, all small, at most 40"
            )
            raise SettingsError(
                ".".join((*path, name[:60])),
                f"is not the name of {'an exchange' if is_exchanges else 'a table here'}",
                allowed=f"a letter, then letters, digits and {limit}",
                source=source,
            )


def _check(settings: Settings) -> None:
    """Check what several keys say together."""
    _check_kafka(settings.kafka)
    for name, exchange in settings.exchanges.items():
        if exchange.enabled and not exchange.symbols:
            key = f"exchanges.{name}.symbols"
            raise SettingsError(key, "is empty", allowed="a symbol or more, or enabled = false")
    backoffs = (
        (
            "producer.backoff",
            settings.producer.backoff_initial_ms,
            settings.producer.backoff_cap_ms,
        ),
        ("sink.retry", settings.sink.retry_initial_ms, settings.sink.retry_cap_ms),
        ("notify.retry", settings.notify.retry_initial_ms, settings.notify.retry_cap_ms),
    )
    for key, initial, cap in backoffs:
        if cap < initial:
            least = f"at least {key}_initial_ms, {initial}"
            raise SettingsError(f"{key}_cap_ms", f"is {cap}", allowed=least)
    _check_notify(settings.notify)


def _check_notify(notify: NotifySettings) -> None:
    """Check all but what is secret: only the notifier's own environment holds that."""
    for name, receiver in notify.receivers.items():
        key = f"notify.receivers.{name}.url"
        if receiver.kind == "slack" and receiver.url:
            advice = "nothing here; whoever knows it may post: set secret_url in the environment"
            raise SettingsError(key, "would stand in the file", allowed=advice)
        if receiver.kind == "alertmanager" and receiver.url.rstrip("/").endswith("/alerts"):
            problem = "has the path of the interface"
            raise SettingsError(key, problem, allowed="the address before /api/v2/alerts")
    for name, silence in notify.silences.items():
        _check_silence(f"notify.silences.{name}", silence)
    for name, window in notify.maintenance.items():
        _check_window(f"notify.maintenance.{name}", window)


def _check_silence(key: str, silence: SilenceSettings) -> None:
    if not any(getattr(silence, name) for name in _MATCHERS):
        raise SettingsError(key, "matches nothing", allowed=f"one of {', '.join(_MATCHERS)}")
    if not silence.reason:
        raise SettingsError(f"{key}.reason", "is empty", allowed="why it is silent")
    if silence.ends is None:
        raise SettingsError(f"{key}.ends", "is missing", allowed="the time when it ends")
    if silence.starts is not None and silence.starts >= silence.ends:
        raise SettingsError(f"{key}.ends", "is not after its start", allowed="a later time")


def _check_window(key: str, window: MaintenanceSettings) -> None:
    once = (window.starts is not None, window.ends is not None)
    weekly = (bool(window.weekdays), bool(window.at), bool(window.minutes))
    if (any(once), any(weekly)) not in ((True, False), (False, True)) or not (
        all(once) or all(weekly)
    ):
        allowed = "starts and ends, or weekdays, at and minutes"
        raise SettingsError(key, "is neither once nor weekly", allowed=allowed)
    if window.starts is not None and window.ends is not None and window.starts >= window.ends:
        raise SettingsError(f"{key}.ends", "is not after its start", allowed="a later time")


def _check_kafka(kafka: KafkaSettings) -> None:
    for address in kafka.bootstrap.split(","):
        port = int(address.rpartition(":")[2])
        if not 1 <= port <= 65_535:
            problem = f"has the port {port}"
            raise SettingsError("kafka.bootstrap", problem, allowed="ports 1 to 65535")
    if kafka.security_protocol.startswith("SASL"):
        needed = f"text, because kafka.security_protocol is {kafka.security_protocol}"
        if not kafka.sasl_username:
            raise SettingsError("kafka.sasl_username", "is empty", allowed=needed)
        if not kafka.sasl_password:
            raise SettingsError(
                "kafka.sasl_password",
                "is empty",
                allowed=f"{needed}, in {PREFIX}KAFKA__SASL_PASSWORD",
            )


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
