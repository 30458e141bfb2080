"""Settings as plain trees and as TOML, with every secret masked or left out."""

from typing import Any

import msgspec
import tomli_w

from infra.runtime.settings.sections import Settings
from infra.runtime.settings.values import Secret, Section


def effective(settings: Settings) -> dict[str, Any]:
    """Return every setting in force as tables of plain values; a secret that is set is `***`."""
    return {name: _plain(getattr(settings, name)) for name in settings.__struct_fields__}


def to_toml(settings: Settings) -> str:
    """Return a settings file that gives `settings` again, except for secrets: those it leaves out.

    Keys that are at their default are not written, so that a later default applies.
    """
    return tomli_w.dumps(_changed(settings))


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Secret):
        return "***" if value else ""
    # TOML has no word for nothing.
    return "" if value is None else value


def _changed(section: Section) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, Section):
            if inner := _changed(value):
                tree[field.name] = inner
        elif isinstance(value, dict):
            # A table that is there says something even when every key is at its default.
            if value:
                tree[field.name] = {name: _changed(each) for name, each in value.items()}
        elif value != field.default and value != {} and not isinstance(value, Secret):
            tree[field.name] = _plain(value)
    return tree
