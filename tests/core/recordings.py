"""The shared set of recorded frames, where this checkout has it beside itself."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from core.tape import Tape, read_tape

FOLDER = Path(
    os.environ.get("STREAMGAUGE_RECORDINGS", "")
    or Path(__file__).resolve().parents[3] / "shared" / "frames"
)
VENUES = ("deribit", "binance", "kraken", "damaged")

needed = pytest.mark.skipif(not FOLDER.is_dir(), reason="no recorded frames beside the checkout")


def names() -> list[str]:
    """Return every recording of a venue that is decoded here, as expected.json names it."""
    found = (path for venue in VENUES for path in sorted(FOLDER.glob(f"{venue}/*.tsv.gz")))
    return [path.relative_to(FOLDER).as_posix() for path in found]


def expected() -> dict[str, Any]:
    """Return the results that a correct rebuild gives, by name of the recording."""
    path = FOLDER / "expected.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return results


def tape(name: str) -> Tape:
    """Return a whole recording."""
    with gzip.open(FOLDER / name, "rt", encoding="utf-8", newline="\n") as lines:
        return read_tape(lines)
