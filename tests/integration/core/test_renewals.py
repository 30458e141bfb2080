"""Books of a simulated venue that are renewed by new subscriptions: audited, and never mistaken."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import msgspec
import pytest

from core.events import BookState, FaultKind
from core.exchanges import exchanges
from core.frames import Address, BatchBuilder, Frame, FrameKind
from core.pipeline import PipelineSettings, ShardPipeline
from core.protocol import Shard
from tests.integration.simulator.clients import SETTINGS, World, simulating

pytestmark = pytest.mark.integration

ROUNDS = 4


class Log:
    """What was said on the socket, read by a pipeline as it comes."""

    def __init__(self, shard: Shard) -> None:
        self.pipeline = ShardPipeline(exchanges()[shard.exchange], PipelineSettings())
        self.builder = BatchBuilder(Address(shard.exchange, shard.name, "A", 1))
        self.faults: list[FaultKind] = []
        self.add(FrameKind.PLAN, msgspec.json.encode(shard))

    def add(self, kind: FrameKind, payload: bytes) -> None:
        self.builder.add(Frame(kind, time.time_ns(), time.monotonic_ns(), "", payload))
        batch = self.builder.cut()
        assert batch is not None
        self.faults += [fault.kind for fault in self.pipeline.feed(batch).faults]

    @property
    def live(self) -> int:
        books = [each.book for each in self.pipeline.instruments.values()]
        return sum(book.state is BookState.LIVE for book in books)

    def counted(self, name: str) -> int:
        books = [each.book for each in self.pipeline.instruments.values()]
        return sum(getattr(book.counters, name) for book in books)


async def renewed(world: World, rounds: int) -> Log:
    """Renew every book so many times over a real socket; return what the log tells."""
    exchange = exchanges()["deribit"]
    symbols = list(world.simulator.venues["deribit"].markets)
    (shard,) = exchange.plan(symbols, per_shard=9, book_depth=25)
    log = Log(shard)
    async with asyncio.timeout(60), world.http.ws_connect(world.ws("deribit")) as socket:
        for text in exchange.subscribe(shard):
            log.add(FrameKind.SENT, text.encode())
            await socket.send_str(text)
        for turn in range(1, rounds + 2):
            while log.live < len(symbols) or log.counted("snapshots") < turn * len(symbols):
                message = await socket.receive()
                assert message.type is aiohttp.WSMsgType.TEXT
                log.add(FrameKind.RECEIVED, message.data.encode())
            if turn <= rounds:
                for place, symbol in enumerate(symbols):
                    requests = exchange.snapshot(shard, symbol, 100 * turn + 2 * place)
                    # The venue's own pace; what comes in meanwhile is read after we have asked.
                    await asyncio.sleep(len(requests) / exchange.pacing.messages_per_s)
                    for request in requests:
                        log.add(FrameKind.SENT, request.content.encode())
                        await socket.send_str(request.content)
    return log


@pytest.mark.parametrize("rate", [4.0, 150.0])
async def test_renewals_of_true_books_are_audits_that_agree(tmp_path: Path, rate: float) -> None:
    """Where books change all the time fewer renewals stand at the id that is held."""
    assert SETTINGS.deribit is not None
    quiet = replace(SETTINGS, deribit=replace(SETTINGS.deribit, rate=rate))
    async with simulating(tmp_path, quiet) as world:
        log = await renewed(world, ROUNDS)

    assert log.faults == []
    assert log.counted("snapshots") == 2 * (ROUNDS + 1)
    assert log.counted("audits_bad") == 0
    if rate < 10:
        assert log.counted("audits_ok") > 0
