"""Environments of their own for the peers that run beside our code.

cryptofeed needs Python 3.12 or newer, and a version of it may not install under the newest. Each
gets a virtual environment under `var/bench`, made once from PyPI, together with the one package
that our core needs: so both sides can also be compared on the very same interpreter. Beside them
lies a copy of our core that mypyc has compiled, an experiment: nothing else uses it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from bench.harness import note

FOLDER: Final = Path(__file__).resolve().parent.parent / "var" / "bench"
MINORS: Final = (12, 13, 14)
"""Minor versions of Python 3 under which cryptofeed may run."""
COMPILED: Final = (
    "audit",
    "book",
    "columns",
    "continuity",
    "decimals",
    "facts",
    "instrument",
    "instruments",
    "pipeline",
    "published",
    "retained",
    "statistics",
    "sync",
)
"""Modules of `core` without msgspec's structs, which mypyc would not speed up."""
MAKE_S: Final = 300
"""Longest time to make an environment, s."""


class Peer(msgspec.Struct, frozen=True):
    """A version of cryptofeed; `minors` are the versions of Python 3 to try, the best first."""

    name: str
    folder: str
    requirement: str
    minors: tuple[int, ...]


PEERS: Final = (
    Peer("cryptofeed 2.5", "cf25", "cryptofeed==2.5.*", (12, 13)),
    Peer("cryptofeed 3", "cf3", "cryptofeed>=3,<4", (13, 12, 14)),
)


def environment(peer: Peer) -> Path | None:
    """Return the Python of a peer's environment, made if need be; None where there is none."""
    folder = FOLDER / peer.folder
    python = folder / "bin" / "python"
    if _is_complete(python):
        return python
    found = pythons()
    for minor in peer.minors:
        if minor in found and _is_made(folder, found[minor], peer):
            return python
    return None


def pythons() -> dict[int, Path]:
    """Return the interpreters on PATH and of pyenv, by minor version; each was seen to start."""
    found: dict[int, Path] = {}
    for minor in MINORS:
        for candidate in _candidates(minor):
            if _output(candidate, "import sys; print(sys.version_info[1])") == str(minor):
                found[minor] = candidate
                break
    return found


def compiled() -> Path | None:
    """Return a folder with our core compiled, made if need be; None where that cannot be done."""
    root = Path(__file__).resolve().parent.parent
    folder, stamp = FOLDER / "mypyc", hashlib.blake2b(digest_size=16)
    for source in sorted([*root.glob("core/**/*.py"), root / "bench" / "replay.py"]):
        stamp.update(source.read_bytes())
    done = folder / "done"
    if done.is_file() and done.read_text() == stamp.hexdigest():
        return folder
    note("compiling the core with mypyc")
    shutil.rmtree(folder, ignore_errors=True)
    for package in ("core", "bench"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / package, folder / package, ignore=ignored)
    (folder / "mypy.ini").write_text("[mypy]\nexplicit_package_bases = True\n")
    command = [sys.executable, "-m", "mypyc", *[f"core/{name}.py" for name in COMPILED]]
    if not _runs(command, "mypyc", folder):
        return None
    done.write_text(stamp.hexdigest())
    return folder


def _candidates(minor: int) -> Iterator[Path]:
    for name in (f"python3.{minor}", "python3"):
        on_path = shutil.which(name)
        if on_path:
            yield Path(on_path)
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in sorted(root.glob(f"versions/3.{minor}.*"), reverse=True):
        yield folder / "bin" / "python"


def _is_complete(python: Path) -> bool:
    return _output(python, "import cryptofeed.exchanges, msgspec; print(1)") == "1"


def _is_made(folder: Path, base: Path, peer: Peer) -> bool:
    """Make an environment and say whether it works."""
    note(f"making an environment for {peer.name} with {base.name}")
    python = folder / "bin" / "python"
    make: list[str | Path] = [base, "-m", "venv", folder]
    install: list[str | Path] = [python, "-m", "pip", "install", "--quiet", peer.requirement]
    install.append(f"msgspec=={version('msgspec')}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    return all(_runs(each, peer.name, FOLDER) for each in (make, install)) and _is_complete(python)


def _runs(command: Sequence[str | Path], name: str, folder: Path) -> bool:
    """Run a command in a folder; say whether it succeeded, and tell a person if not."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=MAKE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        note(f"{name}: {error}")
        return False
    if done.returncode:
        note(f"{name}: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return done.returncode == 0


def _output(python: Path, code: str) -> str:
    """Return what a line of Python prints, nothing where it does not run."""
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode().strip() if done.returncode == 0 else ""
