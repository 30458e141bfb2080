"""Decode: recorded frames to verified books and rows, side by side with cryptofeed.

Every recording is played by our core and by cryptofeed (2.5 and the newest 3.x, each a separate
program in an environment of its own), one after the other in many rounds. Measured is CPU time;
a ratio is the median over the rounds of theirs divided by ours. Checksums are verified by all, and
the books that each side ends with are compared with the recordings' own truth: a side that fails
or is wrong is named with the figures. Without recordings, or a Python for cryptofeed, our own
figures alone are shown.
"""

import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.environments import PEERS, compiled, environment
from bench.harness import RECORDINGS, Options, note, options, report
from bench.replay import Request
from bench.tapes import Recording, made_up, recorded

ROOT: Final = Path(__file__).resolve().parent.parent
OURS: Final = "ours"
COMPILED: Final = "ours, compiled"
ROUND_FRAMES: Final = 500
"""Least frames of one measurement: a short recording is played several times."""
ROUNDS_MIN: Final = 5
NOT_SPOKEN: Final = {"cryptofeed 2.5": "kraken", "cryptofeed 3": "kraken_v1"}
"""Protocols that came after, or went before, a version of cryptofeed."""


class Figures(msgspec.Struct, frozen=True):
    """What a side answers (see `bench.replay.Answer`), or the error that kept it from it."""

    version: str = ""
    python: str = ""
    seconds: float = 0.0
    frames: int = 0
    rows: dict[str, int] = {}
    digest: int = 0
    books: dict[str, int] = {}
    error: str = ""


class Side:
    """A program that plays recordings: ours, or a peer's."""

    def __init__(self, name: str, command: list[str | Path], folder: Path = ROOT) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, recording: Recording, *, rounds: int, rows: bool) -> Figures:
        """Let it play a recording and return its figures."""
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert answers is not None
        request = Request(
            file=str(recording.file),
            exchange=recording.exchange,
            rounds=rounds,
            rows=rows,
            symbols=sorted(recording.books),
            options=recording.options,
        )
        pipe.write(msgspec.json.encode(request) + b"\n")
        pipe.flush()
        line = answers.readline()
        return msgspec.json.decode(line, type=Figures) if line else Figures(error="it ended")

    def close(self) -> None:
        """End the program."""
        self._process.communicate()


class Run(msgspec.Struct):
    """One recording, with rows or without: frames a second of each side, and their ratio to ours.

    `ratio` is of our default Python, `ratio_same_python` of ours under the peer's own,
    `ratio_compiled` of our core compiled by mypyc, under our default Python. `rows` are how many a
    side makes, `equal_rows` names the peers whose books in them are level by level ours.
    """

    recording: str
    frames: int
    with_rows: bool
    rows: dict[str, dict[str, int]] = {}
    equal_rows: list[str] = []
    frames_s: dict[str, int] = {}
    ratio: dict[str, float] = {}
    ratio_same_python: dict[str, float] = {}
    ratio_compiled: dict[str, float] = {}
    problems: dict[str, str] = {}


def main(values: Options) -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as folder:
        if values.smoke or not (RECORDINGS / "expected.json").is_file():
            if not values.smoke:
                note(f"no recordings in {RECORDINGS}: our own figures on a made-up session only")
            recordings = [made_up(Path(folder))]
            sides = our_side()
        else:
            recordings = recorded(Path(folder))
            sides = all_sides()
        try:
            runs, result = measured(recordings, sides, values)
        finally:
            for side in sides:
                side.close()
    figures = {"geomean": geomeans(runs), "runs": runs}
    report("decode", figures, msgspec.json.encode(result))
    wrong = [run.recording for run in runs if OURS in run.problems]
    if wrong:
        note(f"our books are wrong: {', '.join(wrong)}")
        sys.exit(1)


def our_side() -> list[Side]:
    """Return our core under this Python."""
    return [Side(OURS, [sys.executable, "-m", "bench.replay"])]


def all_sides() -> list[Side]:
    """Return our core, and for each peer that can be had: it, and our core under its Python."""
    sides = our_side()
    folder = compiled()
    if folder is not None:
        sides.append(Side(COMPILED, [sys.executable, "-m", "bench.replay"], folder))
    program = Path(__file__).with_name("peer.py")
    for peer in PEERS:
        python = environment(peer)
        if python is None:
            note(f"{peer.name} cannot be had: it needs a Python of its own and PyPI")
            continue
        sides.append(Side(peer.name, [python, "-P", program]))
        sides.append(Side(_under(peer.name), [python, "-m", "bench.replay"]))
    return sides


def _under(peer: str) -> str:
    return f"{OURS}, Python of {peer}"


def measured(
    recordings: list[Recording], sides: list[Side], values: Options
) -> tuple[list[Run], list[Any]]:
    """Return the figures of every recording, and the books and rows that we computed."""
    runs: list[Run] = []
    result: list[Any] = []
    for recording in recordings:
        for rows in (True, False):
            run, own = _run(recording, sides, rows=rows, seconds=values.seconds / 2)
            runs.append(run)
            result.append([recording.name, own.books, own.rows, own.digest])
            note(_described(run))
    return runs, result


def _run(recording: Recording, sides: list[Side], *, rows: bool, seconds: float) -> tuple[Run, Any]:
    """Let the sides play in turn until the time is over."""
    playing = [side for side in sides if not _is_mute(side.name, recording.exchange)]
    first = {side.name: side.ask(recording, rounds=1, rows=rows) for side in playing}
    own = first[OURS]
    run = Run(recording.name, recording.frames, rows)
    for name, figures in first.items():
        problem = _problem(figures, recording)
        if problem:
            run.problems[name] = problem
        if rows and not figures.error:
            run.rows[name] = figures.rows
            if figures.digest == own.digest and name in NOT_SPOKEN:
                run.equal_rows.append(name)
    playing = [side for side in playing if not first[side.name].error]
    rounds = -(-ROUND_FRAMES // recording.frames)
    times: dict[str, list[float]] = {side.name: [] for side in playing}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or len(times[OURS]) < ROUNDS_MIN:
        for side in playing:
            figures = side.ask(recording, rounds=rounds, rows=rows)
            times[side.name].append(figures.seconds / figures.frames)
    run.frames_s = {name: round(1 / statistics.median(taken)) for name, taken in times.items()}
    for peer in times:
        if not peer.startswith(OURS):
            run.ratio[peer] = _ratio(times[peer], times[OURS])
            run.ratio_same_python[peer] = _ratio(times[peer], times[_under(peer)])
            if COMPILED in times:
                run.ratio_compiled[peer] = _ratio(times[peer], times[COMPILED])
    return run, own


def _is_mute(side: str, exchange: str) -> bool:
    return any(side.endswith(name) and exchange == of for name, of in NOT_SPOKEN.items())


def _problem(figures: Figures, recording: Recording) -> str:
    """Say what is wrong with a side's result, nothing if it is right."""
    if figures.error:
        return figures.error
    # Versions of cryptofeed spell symbols in another case.
    books = {symbol.upper(): crc for symbol, crc in figures.books.items()}
    wrong = [name for name, crc in recording.books.items() if books.get(name.upper()) != crc]
    return f"{len(wrong)} of {len(recording.books)} books are wrong at the end" if wrong else ""


def _ratio(theirs: list[float], ours: list[float]) -> float:
    """Return the median over the rounds of their time divided by ours."""
    pairs = zip(theirs, ours, strict=True)
    return round(statistics.median([their / our for their, our in pairs]), 3)


def geomeans(runs: list[Run]) -> dict[str, dict[str, float]]:
    """Return geometric means of the ratios: to each peer, and to the better one each time."""
    means: dict[str, dict[str, float]] = {}
    for kind in ("ratio", "ratio_same_python", "ratio_compiled"):
        for rows in (True, False):
            ratios: dict[str, list[float]] = {}
            for run in runs:
                found: dict[str, float] = getattr(run, kind)
                if run.with_rows is not rows or not found:
                    continue
                for peer, ratio in found.items():
                    ratios.setdefault(peer, []).append(ratio)
                ratios.setdefault("the better", []).append(min(found.values()))
            name = f"{kind}, {'with' if rows else 'without'} rows"
            means[name] = {peer: round(_geomean(values), 3) for peer, values in ratios.items()}
    return means


def _geomean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def _described(run: Run) -> str:
    speeds = ", ".join(f"{name} {speed}" for name, speed in run.frames_s.items())
    ratios = ", ".join(f"{ratio:.2f} x {peer}" for peer, ratio in run.ratio.items())
    problems = "".join(f"; {name}: {problem}" for name, problem in run.problems.items())
    rows = f"{sum(run.rows[OURS].values())} rows" if run.with_rows else "no rows"
    return f"{run.recording}, {rows}: {speeds} frames/s; {ratios or 'alone'}{problems}"


if __name__ == "__main__":
    main(options(__doc__ or ""))
