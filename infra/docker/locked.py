"""Print a part of a lock file, hashes included, for an image that needs only that part.

`locked.py FILE only NAME...` or `locked.py FILE without NAME...`. Names are checked against the
file, so a package that leaves the lock breaks the build and is not forgotten here. It must not
resolve anything: whether the part is complete is for `pip check` to say.
"""

import re
import sys
from pathlib import Path

USAGE = "usage: locked.py FILE only|without NAME..."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def entries(text: str) -> dict[str, str]:
    """Return the entries of a lock file by package: each its own line and the hashes below it.

    Raises:
        ValueError: a line belongs to no package.
    """
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if start := _NAME.match(line):
            name = start.group()
            found[name] = line
        elif name:
            found[name] += line
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f"a package was expected, found {line.strip()[:80]!r}")
    return found


def part(text: str, choice: str, names: set[str]) -> str:
    """Return the entries with these names (`only`), or all others (`without`).

    Raises:
        ValueError: a name is not in the lock file.
    """
    found = entries(text)
    if unknown := names - found.keys():
        raise ValueError(f"not in the lock file: {', '.join(sorted(unknown))}")
    return "".join(entry for name, entry in found.items() if (name in names) == (choice == "only"))


def main(arguments: list[str]) -> int:
    """Print the part; 2 with the reason where the arguments are wrong."""
    if len(arguments) < 3 or arguments[1] not in ("only", "without"):
        sys.stderr.write(f"{USAGE}\n")
        return 2
    file, choice, *names = arguments
    try:
        sys.stdout.write(part(Path(file).read_text(encoding="utf-8"), choice, set(names)))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{file}: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
