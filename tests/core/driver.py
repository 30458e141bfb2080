"""A session driven by hand: time, frames and faults are a test's to decide.

What the session asks for is carried out at once against a toy venue, and every frame goes into a
log that the processors' pipeline reads, so a test can compare what both make of it.
"""

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from core.actions import Action, Close, Fetch, Ping, Record, Send, Tell
from core.connection import Session, SessionSettings
from core.events import BookSnapshot, BookState, Fault, StreamSecond
from core.exchanges import exchanges
from core.frames import Address, BatchBuilder, Frame, FrameKind, Resync, TickStatus
from core.pipeline import PipelineSettings, ShardPipeline
from core.protocol import Shard
from tests.core.toy_venues import VENUES

S = 1_000_000_000
START = 1_000 * S


class Driver:
    """One session, its venue and its log. `answer` may hold back what the venue says."""

    def __init__(
        self,
        name: str,
        symbols: tuple[str, ...] = ("AAA", "BBB", "CCC"),
        settings: SessionSettings | None = None,
        fraction: float = 0.5,
    ) -> None:
        self.exchange = exchanges()[name]
        self.shard = Shard(name, f"{name}-0", symbols, 25)
        self.venue = VENUES[name](symbols)
        self.session = Session(
            self.exchange, self.shard, settings or SessionSettings(), lambda: fraction
        )
        self.pipeline = ShardPipeline(self.exchange, PipelineSettings())
        self.builder = BatchBuilder(Address(name, self.shard.name, "A", 1))
        self.now = START
        self.sent: list[tuple[int, str]] = []
        self.pings: list[bytes] = []
        self.told: list[Tell] = []
        self.fetches: deque[Fetch] = deque()
        self.resyncs: list[Resync] = []
        self.records: list[Record] = []
        self.closed: Close | None = None
        self.books: dict[str, BookSnapshot] = {}
        self.seconds: list[StreamSecond] = []
        self.faults: list[Fault] = []
        self.answer: Callable[[bytes], bool] = lambda frame: True

    def open(self) -> None:
        """Open the socket and let the venue answer."""
        self.log(FrameKind.OPENING)
        self.do(self.session.opening())
        self.log(FrameKind.OPEN)
        self.do(self.session.opened(self.now))

    def receive(self, payload: bytes) -> None:
        """Let a frame come in."""
        self.log(FrameKind.RECEIVED, payload)
        self.do(self.session.received(payload, self.now))

    def change(self, symbol: str) -> bytes:
        """Let a book change, and the change come in if it is subscribed."""
        frame = self.venue.change(symbol)
        if symbol in self.venue.subscribed:
            self.receive(frame)
        return frame

    def pass_time(self, ns: int) -> None:
        """Let time pass; what is due meanwhile is done when it is due."""
        end = self.now + ns
        while self.closed is None and self.session.deadline <= end:
            self.now = max(self.now, self.session.deadline)
            before = self.session.deadline
            self.do(self.session.advance(self.now))
            assert self.session.deadline > before, "what is due is done, and then not due"
        self.now = end

    def fetch(self) -> bool:
        """Answer the first REST request that waits; say whether there was one."""
        if not self.fetches:
            return False
        asked = self.fetches.popleft()
        url = f"http://venue{asked.path}"
        self.log(FrameKind.REQUEST, where=url)
        self.session.fetch_started(asked.symbol, url, self.now)
        body = self.venue.fetch(asked.path)
        self.log(FrameKind.RESPONSE, body, url)
        self.do(self.session.fetched(asked.symbol, url, body, self.now))
        return True

    def tell_time(self, asked: Fetch) -> None:
        """Answer a request for the venue's time at once; its clock is ours."""
        url = f"http://venue{asked.path}"
        self.log(FrameKind.REQUEST, where=url)
        self.session.fetch_started("", url, self.now)
        body = self.venue.time(self.now)
        self.log(FrameKind.RESPONSE, body, url)
        self.do(self.session.fetched("", url, body, self.now))

    def fail_fetch(self) -> None:
        """Fail the first REST request that waits."""
        if self.fetches:
            asked = self.fetches.popleft()
            url = f"http://venue{asked.path}"
            self.log(FrameKind.REQUEST, where=url)
            self.session.fetch_started(asked.symbol, url, self.now)
            self.log(FrameKind.REQUEST_FAILED, b"{}", url)
            self.do(self.session.fetch_failed(asked.symbol, "HTTP 500", self.now))

    def do(self, actions: Sequence[Action]) -> None:
        """Carry out actions as the shell does."""
        for action in actions:
            if isinstance(action, Record):
                self.records.append(action)
                self.log(action.kind, action.payload)
                if action.kind is FrameKind.RESYNC:
                    self.resyncs.append(msgspec.json.decode(action.payload, type=Resync))
            elif isinstance(action, Send):
                self.sent.append((self.now, action.text))
                self.log(FrameKind.SENT, action.text.encode())
                for frame in self.venue.take(action.text):
                    if self.answer(frame):
                        self.receive(frame)
            elif isinstance(action, Ping):
                self.pings.append(action.payload)
            elif isinstance(action, Fetch) and not action.symbol:
                self.tell_time(action)
            elif isinstance(action, Fetch):
                self.fetches.append(action)
            elif isinstance(action, Tell):
                self.told.append(action)
            else:
                self.closed = action

    def log(self, kind: FrameKind, payload: bytes = b"", where: str = "") -> None:
        """Put a frame into the log and let the pipeline read it."""
        self.builder.add(Frame(kind, self.now, self.now, where, payload))
        batch = self.builder.cut()
        assert batch is not None
        events = self.pipeline.feed(batch)
        self.books |= {book.symbol: book for book in events.books}
        self.seconds += events.seconds
        self.faults += events.faults

    def look(self) -> dict[str, BookState | None]:
        """Return the state of every book in the pipeline; `books` are as they are now."""
        self.now += S
        self.books = {}
        self.seconds = []
        self.log(FrameKind.TICK, msgspec.json.encode(TickStatus(connected=True)))
        return {each.symbol: each.book_state for each in self.seconds if each.channel == "book"}


def opened(name: str, **arguments: object) -> Driver:
    """Return a driver whose books are all live."""
    driver = Driver(name, **arguments)  # type: ignore[arg-type]
    driver.open()
    for _ in range(3):
        for symbol in driver.shard.symbols:
            driver.change(symbol)
        while driver.fetch():
            pass
        driver.pass_time(S)
    assert driver.session.guard.live == len(driver.shard.symbols)
    return driver
