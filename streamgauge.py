"""Starts the command line; the only name that an installation adds to a user's environment.

The application's folders have short names (`core`, `schemas`, `infra`). This module puts the
folder that holds them first on `sys.path` of its own process and of no other; see
`docs/decisions/0001-packaging.md`. It must not do anything else.
"""

import sys
from pathlib import Path


def application_folder() -> Path:
    """Return the folder that holds `core` and its siblings: in a wheel, or a checkout."""
    here = Path(__file__).resolve().parent
    packed = here / "streamgauge_app"
    return packed if packed.is_dir() else here


def main() -> None:
    """Run the `streamgauge` command."""
    folder = str(application_folder())
    if sys.path[0] != folder:
        sys.path.insert(0, folder)

    try:
        from infra.cli.main import command
    except KeyboardInterrupt:
        # Ctrl-C while half of the program is loaded; later ones are the command's own.
        sys.exit(130)
    command(prog_name="streamgauge")


if __name__ == "__main__":
    main()
