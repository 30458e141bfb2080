"""The reference of all settings in Markdown, from the fields and the text under them.

`make docs` writes it to `docs/settings.md`, and a test compares the two.
"""

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, get_args, get_origin

import msgspec

from infra.runtime.settings.allowed import allowed
from infra.runtime.settings.reading import PREFIX, USUAL_FILES
from infra.runtime.settings.sections import Settings
from infra.runtime.settings.values import Secret, Section

_OPENING = f"""\
# Settings

Made by `make docs` from `infra/runtime/settings/sections.py` and `notify.py`; do not edit.

One TOML file and the environment, read once when a command starts. The file is the one that
`--config` names, else the one in `STREAMGAUGE_CONFIG`, else the first of
{" and ".join(f"`{name}`" for name in USUAL_FILES)} in the working folder; `streamgauge run` writes
the last one while it runs. Without a file every setting has its default.

Each setting can be overridden in the environment: `{PREFIX}SINK__BLOCK_ROWS=1000` sets
`sink.block_rows`, and lists are written with commas. `streamgauge --set sink.block_rows=1000 …`
does the same for one command. **Secrets are taken from the environment only**, not from `--set`,
which everybody on the machine could read; with `_FILE` behind its name a variable names a file that
holds the secret on one line: `{PREFIX}KAFKA__SASL_PASSWORD_FILE=/run/secrets/kafka`. An
unknown key or a value that is not allowed stops a command before it connects to anything.
`streamgauge doctor --settings` shows what is in force.
"""


def reference() -> str:
    """Return the text of `docs/settings.md`."""
    parts = [_OPENING]
    for name, section in tables():
        parts.append(f"\n## [{name}]\n\n{inspect.getdoc(section)}\n\n{_table(section)}")
    return "".join(parts)


def tables(above: type[Section] = Settings, path: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Yield every table of a settings file and its section, in the order of the reference."""
    for field in msgspec.structs.fields(above):
        name, section = f"{path}{field.name}", field.type
        if get_origin(section) is dict:
            name, section = f"{name}.<name>", get_args(section)[1]
        if isinstance(section, type) and issubclass(section, Section):
            yield name, section
            yield from tables(section, f"{name}.")


def texts(section: type[Section]) -> dict[str, str]:
    """Return the text under each field of a section, on one line each."""
    return {name: " ".join(text.split()) for name, text in _texts(section)}


def _table(section: type[Section]) -> str:
    described = texts(section)
    rows = ["| key | allowed | default | unit and effect |", "|---|---|---|---|"]
    for field in msgspec.structs.fields(section):
        if get_origin(field.type) is dict:
            continue
        default = _default(field)
        cells = (f"`{field.name}`", allowed(field.type), default, described[field.name])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "none: needed"
    value: Any = field.default if field.default_factory is msgspec.NODEFAULT else ""
    if value in ("", (), None) or isinstance(value, Secret):
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _texts(section: type[Section]) -> Iterator[tuple[str, str]]:
    # Python keeps no docstrings of fields; they stand in the source, each under its field.
    (node,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(node, ast.ClassDef)
    for field, under in pairwise(node.body):
        match field, under:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, text


if __name__ == "__main__":
    import click

    click.echo(reference(), nl=False)
