"""A connection by hand on the log's own clock, for what is said of one over minutes."""

from collections.abc import Callable
from random import Random

import msgspec

from core.exchanges import exchanges
from core.frames import Address, BatchBuilder, CloseReason, Frame, FrameKind, TickStatus
from core.pipeline import PipelineSettings, ShardPipeline
from core.protocol import Shard, Transport
from core.stability.alerts import Alert, AlertKind, Phase
from core.stability.states import StreamState
from tests.core.speakers import SPEAKERS, START_MS

MS = 1_000_000
NS = 1_000_000_000
LEARNED_S = 320
"""After this many seconds the rhythm of every stream is known."""
SYMBOLS = ("BTC-PERPETUAL", "ETH_USDC", "SOL_USDC")

Change = Callable[[bytes], list[bytes]]


class Wire:
    """A seeded connection: ten messages a second, and ticks."""

    def __init__(self, venue: str = "deribit") -> None:
        self.exchange = exchanges()[venue]
        self.pipeline = ShardPipeline(self.exchange, PipelineSettings())
        self.shard = Shard(venue, "s", SYMBOLS, 0)
        self.speaker = SPEAKERS[venue](SYMBOLS)
        self.random = Random(7)
        self.alerts: list[Alert] = []
        self.states: dict[tuple[str, str], StreamState] = {}
        self.ms = 0
        self.epoch = 0
        self.latency_ms = 20
        self.spread_ms = 5
        self.quiet: set[str] = set()
        self.status = TickStatus(connected=True)
        self.change: Change = lambda payload: [payload]
        self.open()

    def open(self) -> None:
        """Open the socket, and get every book."""
        self.epoch += 1
        self.builder = BatchBuilder(Address(self.shard.exchange, "s", "A", self.epoch))
        self.add(FrameKind.OPENING)
        self.add(FrameKind.PLAN, msgspec.json.encode(self.shard))
        self.add(FrameKind.OPEN)
        for symbol in SYMBOLS:
            self.renew(symbol)

    def renew(self, symbol: str) -> None:
        """Ask for a book anew, and get it."""
        for request in self.exchange.snapshot(self.shard, symbol, 7):
            if request.transport is Transport.REST:
                url = "http://venue" + request.content
                self.add(FrameKind.REQUEST, where=url)
                self.add(FrameKind.RESPONSE, self.speaker.body(url), url)
                continue
            self.add(FrameKind.SENT, request.content.encode())
            for answer in self.speaker.answers(request.content):
                self.add(FrameKind.RECEIVED, answer)

    def close(self, reason: CloseReason) -> None:
        """Lose the socket."""
        self.add(FrameKind.CLOSE, msgspec.json.encode(reason))

    def live(self, seconds: int) -> list[tuple[Phase, AlertKind, str, str]]:
        """Let time pass, and return the alerts of it: phase, kind, channel and symbol."""
        before = len(self.alerts)
        for _ in range(seconds):
            for _ in range(5):
                self.ms += 190
                for kind in ("change", "trade"):
                    self.speak(kind, self.random.choice(SYMBOLS))
            self.ms += 1000 - self.ms % 1000
            self.add(FrameKind.TICK, msgspec.json.encode(self.status))
        return [(a.phase, a.kind, a.channel, a.symbol) for a in self.alerts[before:]]

    def speak(self, kind: str, symbol: str) -> None:
        """Let the venue say something, unless it is quiet about the symbol."""
        if symbol in self.quiet:
            return
        late = self.latency_ms + self.random.randrange(self.spread_ms + 1)
        self.speaker.ms = START_MS + self.ms - late
        say = self.speaker.change if kind == "change" else self.speaker.trade
        for each in self.change(say(symbol)):
            self.add(FrameKind.RECEIVED, each)

    def add(self, kind: FrameKind, payload: bytes = b"", where: str = "") -> None:
        """Log a frame and take what it implies."""
        ts = (START_MS + self.ms) * MS
        self.builder.add(Frame(kind, ts, (self.ms + 1) * MS, where, payload))
        batch = self.builder.cut()
        assert batch is not None
        events = self.pipeline.feed(batch)
        self.alerts += events.alerts
        for second in events.seconds:
            assert second.state is not None
            self.states[second.channel, second.symbol] = second.state
