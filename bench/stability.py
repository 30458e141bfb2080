"""Stability: what it costs a processor, for each frame and for each stream and second.

The same log is played in turn, several times, through the engine as it is, without judgements
(scores, states, incidents), and without anything that is counted or closed for stability: no
statistics of streams, no rows of seconds, no checkpoints. Measured is CPU time of decoding,
pipeline and encoding. The first log is that of `bench.processor`; in the second, one connection
has 1,000 symbols, 2,002 streams, that say something every other second.

What a stream remembers is measured as it stands in its checkpoint, after an hour, seven (longer
than the longest window of any detector) and fourteen.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from random import Random
from typing import Any, Final
from unittest.mock import patch

from bench.harness import Options, note, options, report
from bench.processor import EPOCH, EXCHANGE, FRAMES_PER_S, Market
from core.exchanges import exchanges
from core.frames import Address, BatchBuilder, Frame, FrameKind
from core.memory import StreamMemory, write
from core.pipeline import PipelineSettings, ShardPipeline
from core.seconds import Seconds
from core.stability.clocks import ClockReading
from core.stability.connection import ConnectionStability
from core.stability.health import ConnectionWindow, StreamHealth
from core.statistics import StreamStatistics
from schemas.codec import decode_frame_batch, encode_events, encode_frame_batch

MANY: Final = tuple(f"BENCH-{number}" for number in range(1_000))
STREAMS: Final = 2 + 2 * len(MANY)
BATCH_FRAMES: Final = 500
ROUNDS: Final = 7
FRAMES: Final = 2_000
"""Of each log, for each second that is to be measured."""
HOURS: Final = (1, 7, 14)
_S: Final = 1_000_000_000

Methods = tuple[tuple[type, str, Callable[..., Any]], ...]

UNJUDGED: Final[Methods] = (
    (ConnectionStability, "close", lambda self, second, window: second),
    (ConnectionStability, "take", lambda self, faults: None),
)
"""Windows are closed, and not judged."""
BARE: Final[Methods] = (
    (StreamStatistics, "frame", lambda self, number, size, ts_mono, transit: None),
    (StreamStatistics, "count", lambda self, size, ts_mono: None),
    (ConnectionStability, "take", lambda self, faults: None),
    (Seconds, "tick", lambda self, status: None),
)
"""Nothing is counted of streams."""


def main(chosen: Options) -> None:
    """Measure both logs and the memory of a stream."""
    count = int(FRAMES * chosen.seconds)
    few = measured("10 symbols", Market(seed=1), count)
    many = measured("1,000 symbols", Market(seed=2, symbols=MANY, levels=4, depth=20), count)
    seconds = count / FRAMES_PER_S
    figures: dict[str, Any] = {
        "frames": count,
        "us_per_frame": {name: _us(each["cpu_s"], count) for name, each in few.items()},
        "added_share": _rounded(few["whole"]["cpu_s"] / few["bare"]["cpu_s"] - 1.0),
        "added_share_judgement": _rounded(few["whole"]["cpu_s"] / few["unjudged"]["cpu_s"] - 1.0),
        "streams": STREAMS,
        "cores_of_all_streams": {
            name: _rounded(each["cpu_s"] / seconds) for name, each in many.items()
        },
        "us_per_stream_second": _us(
            many["whole"]["cpu_s"] - many["bare"]["cpu_s"], STREAMS * seconds
        ),
        "us_per_stream_second_judgement": _us(
            many["whole"]["cpu_s"] - many["unjudged"]["cpu_s"], STREAMS * seconds
        ),
        "memory_bytes": remembered(HOURS[:1] if chosen.smoke else HOURS),
    }
    report("stability", figures, few["whole"]["digest"] + many["whole"]["digest"])


def measured(name: str, market: Market, count: int) -> dict[str, dict[str, Any]]:
    """Return the least CPU time (s) of each variant over some rounds, and what it gave.

    What else runs on the machine only adds to it.
    """
    note(f"making {count} frames of {name}")
    frames = market.frames()
    log = [next(frames) for _ in range(count)]
    whole = list(_records(log))
    # A tick is what closes the windows.
    silent = list(_records(frame for frame in log if frame.kind is not FrameKind.TICK))
    variants: dict[str, tuple[list[bytes], Methods]] = {
        "whole": (whole, ()),
        "unjudged": (whole, UNJUDGED),
        "bare": (silent, BARE),
    }
    times: dict[str, list[float]] = {each: [] for each in variants}
    digests: dict[str, bytes] = {}
    for number in range(ROUNDS):
        note(f"{name}, round {number + 1}")
        for each, (values, methods) in variants.items():
            with ExitStack() as stack:
                for owner, method, instead in methods:
                    stack.enter_context(patch.object(owner, method, instead))
                cpu_s, digests[each] = _play(values)
            times[each].append(cpu_s)
    return {each: {"cpu_s": min(own), "digest": digests[each]} for each, own in times.items()}


def _records(frames: Iterable[Frame]) -> Iterator[bytes]:
    builder = BatchBuilder(Address(EXCHANGE, f"{EXCHANGE}-0", "A", EPOCH))
    for number, frame in enumerate(frames, 1):
        builder.add(frame)
        if number % BATCH_FRAMES == 0:
            batch = builder.cut()
            assert batch is not None
            yield encode_frame_batch(batch)


def _play(values: list[bytes]) -> tuple[float, bytes]:
    pipeline = ShardPipeline(exchanges()[EXCHANGE], PipelineSettings())
    digest = hashlib.blake2b()
    started = time.process_time()
    for offset, value in enumerate(values):
        for kind, output in encode_events(pipeline.feed(decode_frame_batch(value)), 0, offset):
            digest.update(kind.encode() + output)
    return time.process_time() - started, digest.digest()


def remembered(hours: tuple[int, ...]) -> dict[str, int]:
    """Return the bytes of a book's checkpoint after so many hours of a message or two a second."""
    random, stream, health = Random(3), StreamStatistics("book", "BENCH-1"), StreamHealth()
    window = ConnectionWindow(True, False, False, 60 * _S, clock=ClockReading())
    found: dict[str, int] = {}
    mono = 0
    for second in range(max(hours) * 3600):
        for _ in range(random.randrange(3)):
            mono = second * _S + random.randrange(_S)
            stream.frame(mono, 200, mono, random.randrange(40_000_000))
        mono = (second + 1) * _S
        closed = stream.close(
            number=second,
            index=0,
            ts=EPOCH + mono,
            ts_mono=mono,
            window_ns=_S,
            counters=None,
        )
        health.judge(closed, window)
        if (second + 1) % 3600 == 0 and (second + 1) // 3600 in hours:
            memory: StreamMemory = stream.remember()
            memory.health = health
            found[f"{(second + 1) // 3600} h"] = len(write(memory))
    return found


def _us(seconds: float, count: float) -> float:
    return round(seconds / count * 1e6, 2)


def _rounded(value: float) -> float:
    return round(value, 4)


if __name__ == "__main__":
    main(options(__doc__ or ""))
