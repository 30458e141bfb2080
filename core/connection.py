"""One socket of one shard, without the socket: what to send when, and when to give it up.

Fed with facts and monotonic ns, it returns actions in the order in which they must be carried
out and logged. It never waits: `deadline` says when `advance` has something to do. A new socket
needs a new session.

    CONNECTING --opened--> RUNNING --farewell--> LEAVING --acknowledged, or late--> ENDED
    RUNNING --silence, a refused subscription, the venue's notice--> ENDED
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Final

import msgspec

from core.actions import Action, Close, Fetch, Ping, Record, Send
from core.backoff import Backoff
from core.frames import UNCONFIRMED, FrameKind, Resync
from core.guard import Guard, GuardSettings, Need
from core.liveness import Liveness
from core.outbox import Outbox, Purpose, Waiting
from core.pacing import NEVER
from core.protocol import (
    Answer,
    DecodeError,
    Delta,
    Exchange,
    Heartbeat,
    Message,
    Notice,
    Shard,
    Snapshot,
    Subscribed,
    TradePrint,
    Transport,
)
from core.told import Told
from core.wire import PAYLOAD_MAX

PING_PATIENCE_NS: Final = 10_000_000_000
"""How long a ping may wait for its answer before another one is measured in its place."""


class SessionSettings(msgspec.Struct, frozen=True):
    """Times in ns; `silence_ns` 0 takes what is normal at the venue."""

    guard: GuardSettings = GuardSettings()
    silence_ns: int = 0
    ping_interval_ns: int = 3_000_000_000
    acknowledge_timeout_ns: int = 10_000_000_000
    acknowledge_cap_ns: int = 300_000_000_000
    farewell_ns: int = 2_000_000_000
    no_book_ns: int = 30_000_000_000
    """A symbol without a book for this long after its subscription is told of."""


class _Phase(Enum):
    CONNECTING = 0
    RUNNING = 1
    LEAVING = 2
    ENDED = 3


class Session:
    """See the module's docstring. `random` gives fractions, 0 to 1."""

    def __init__(
        self,
        exchange: Exchange,
        shard: Shard,
        settings: SessionSettings,
        random: Callable[[], float],
    ) -> None:
        self.exchange = exchange
        self.shard = shard
        self.guard = Guard(exchange, shard, settings.guard, random)
        self.deadline = NEVER
        """When `advance` has something to do, ns; it may have nothing then."""
        self.undecoded = 0
        self.missing = set(exchange.expected_channels(shard))
        """Channels that the venue has not confirmed."""
        self._settings = settings
        self._life = Liveness(settings.silence_ns or int(exchange.capabilities.silence_s * 1e9))
        self._phase = _Phase.CONNECTING
        self._outbox = Outbox(exchange.pacing)
        self._plan = msgspec.json.encode(shard)
        self._paused = False
        self._plan_at = NEVER
        self._ping_at = NEVER
        self._pings: dict[int, int] = {}
        self._acknowledged_by = NEVER
        self._acknowledge = Backoff(settings.acknowledge_timeout_ns, settings.acknowledge_cap_ns)
        self._acknowledge_wait = self._acknowledge.wait(1.0)
        self._is_subscribed = False
        self._subscribes = 0
        self._next_id = 1
        self._asks: dict[str, range] = {}
        self._asks_time = False
        self._told = Told(settings.no_book_ns)
        self._leaving: set[int] = set()
        self._leave_by = NEVER

    # -- facts --

    def opening(self) -> Sequence[Action]:
        """An attempt to open the socket begins."""
        return [Record(FrameKind.PLAN, self._plan)]

    def opened(self, now: int) -> Sequence[Action]:
        """The handshake succeeded."""
        self._phase = _Phase.RUNNING
        self._life.heard = self._life.told = now
        self._plan_at = now + self._settings.guard.snapshot_interval_ns
        self._ping_at = now + self._settings.ping_interval_ns
        texts = self.exchange.subscribe(self.shard)
        self._subscribes = len(texts)
        self._next_id = len(texts) + 1
        self._outbox.put_all(texts, Purpose.SUBSCRIBE)
        return self.advance(now)

    def received(self, payload: bytes, now: int) -> Sequence[Action]:
        """A text message came."""
        self._life.heard = self._life.told = now
        if len(payload) > PAYLOAD_MAX:
            self.undecoded += 1
            return ()
        try:
            messages = self.exchange.decode(payload)
        except DecodeError:
            # The log holds the frame; a change that was lost with it shows as a gap.
            self.undecoded += 1
            return ()
        return self._messages(messages, now)

    def pinged(self, now: int) -> None:
        """A protocol ping came (and was answered)."""
        self._life.heard = now

    def ponged(self, payload: bytes, now: int) -> Sequence[Action]:
        """A protocol pong came."""
        self._life.heard = now
        return self._answered(int(payload), now) if payload.isdigit() else ()

    def paused(self) -> None:
        """We stop reading the socket: its silence is our own."""
        self._paused = True

    def resumed(self, now: int) -> Sequence[Action]:
        """We read the socket again."""
        self._paused = False
        self._life.heard = self._life.told = now
        self.guard.resumed(now)
        if self._acknowledged_by != NEVER:
            self._acknowledged_by = max(
                self._acknowledged_by, now + self._settings.acknowledge_timeout_ns
            )
        return self.advance(now)

    def dropped(self, now: int) -> Sequence[Action]:
        """Frames of this socket were not kept, and the log says so: heal what is read from it."""
        self.guard.distrust(now)
        return self.advance(now)

    def fetch_started(self, symbol: str, url: str, now: int) -> None:
        """The REST request about a symbol, or about the time, leaves."""
        for message in self.exchange.decode_request(url):
            self.guard.sent(message)
        if symbol:
            self.guard.asked(symbol, now)
        self._arm(now)

    def fetched(self, symbol: str, url: str, body: bytes, now: int) -> Sequence[Action]:
        """The REST request about a symbol, or about the time, was answered."""
        self._asks_time = self._asks_time and bool(symbol)
        try:
            messages = self.exchange.decode_response(url, body)
        except DecodeError as error:
            return self.fetch_failed(symbol, str(error), now)
        return self._messages(messages, now)

    def fetch_failed(
        self, symbol: str, reason: str, now: int, *, not_before: int = 0
    ) -> Sequence[Action]:
        """The REST request failed; the venue wants none before `not_before`."""
        self._asks_time = self._asks_time and bool(symbol)
        if symbol:
            self.guard.failed(symbol, reason, now, not_before=not_before)
        return self.advance(now)

    def farewell(self, now: int) -> Sequence[Action]:
        """We want to stop: give up all channels, so that nothing is lost, then close."""
        if self._phase is not _Phase.RUNNING:
            self._phase = _Phase.ENDED
            return [Close("stopping", planned=True)]
        self._phase = _Phase.LEAVING
        self._leave_by = now + self._settings.farewell_ns
        self._outbox.clear()
        texts = self.exchange.unsubscribe(self.shard, self._next_id)
        self._leaving = set(range(self._next_id, self._next_id + len(texts)))
        self._next_id += len(texts)
        self._outbox.put_all(texts, Purpose.LEAVE)
        return self.advance(now)

    # -- time --

    def advance(self, now: int) -> Sequence[Action]:
        """Do what is due."""
        actions: list[Action] = []
        if self._phase is _Phase.RUNNING:
            self._advance_running(now, actions)
        if self._phase is _Phase.LEAVING and (not self._leaving or now >= self._leave_by):
            self._end(actions, Close("stopping", planned=True))
        if self._phase is _Phase.RUNNING or self._phase is _Phase.LEAVING:
            self._pump(now, actions)
        self._arm(now)
        return actions

    def _advance_running(self, now: int, actions: list[Action]) -> None:
        if self._paused:
            # Nothing can be heard, so nothing can be late, and nothing need be asked.
            return
        if self._life.probe(now):
            self._ping(now, actions)
        if lost := self._life.lost(now):
            self._end(actions, Close(lost, abort=True))
            return
        if now >= self._plan_at:
            self._plan_at = now + self._settings.guard.snapshot_interval_ns
            actions.append(Record(FrameKind.PLAN, self._plan))
        if now >= self._ping_at:
            self._ping_at = now + self._settings.ping_interval_ns
            # A round trip of longer than the interval is to be measured, too.
            if all(now - sent >= PING_PATIENCE_NS for sent in self._pings.values()):
                self._ping(now, actions)
            time_path = self.exchange.endpoints.time
            if time_path and not self._asks_time:
                self._asks_time = True
                actions.append(Fetch("", time_path, urgent=False))
        if now >= self._acknowledged_by:
            self._repeat_missing(now, actions)
        if now >= self._told.deadline:
            actions.extend(self._told.absent(self.guard.never_live()))
        for need in self.guard.advance(now):
            self._ask(need, actions)

    def _ping(self, now: int, actions: list[Action]) -> None:
        ping_id = self._take_ids(1)[0]
        text = self.exchange.ping(ping_id)
        if text is not None:
            # One that still waits for its turn is enough.
            if not self._outbox.holds(Purpose.PING):
                self._outbox.put(Waiting(text, Purpose.PING, id=ping_id))
            return
        self._outbox.pass_by(now)
        self._pings = {ping_id: now}
        actions.append(Ping(b"%d" % ping_id))

    def _repeat_missing(self, now: int, actions: list[Action]) -> None:
        """Report the channels that the venue did not confirm, and subscribe to them again."""
        shard = self.shard
        again: list[str] = []
        self._acknowledge_wait = self._acknowledge.wait(1.0)
        patience = now + self._acknowledge_wait + self._settings.acknowledge_timeout_ns
        for symbol in shard.symbols:
            alone = msgspec.structs.replace(shard, symbols=(symbol,))
            absent = sorted(self.exchange.expected_channels(alone) & self.missing)
            if absent:
                again.append(symbol)
                self.guard.postpone(symbol, patience)
                fault = Resync(symbol, UNCONFIRMED, ", ".join(absent)[:200], "not confirmed")
                actions.append(Record(FrameKind.RESYNC, msgspec.json.encode(fault)))
        self._acknowledged_by = NEVER
        if again:
            alone = msgspec.structs.replace(shard, symbols=tuple(again))
            self._outbox.put_all(self.exchange.subscribe(alone), Purpose.SUBSCRIBE)

    def _ask(self, need: Need, actions: list[Action]) -> None:
        if need.fault is not None:
            actions.append(Record(FrameKind.RESYNC, msgspec.json.encode(need.fault)))
        ask = self.exchange.snapshot if need.renews else self.exchange.resync
        requests = ask(self.shard, need.symbol, self._next_id)
        ids = self._take_ids(len(requests))
        self._asks[need.symbol] = ids
        purpose = Purpose.RENEW if need.renews else Purpose.HEAL
        for request in requests:
            if request.transport is Transport.REST:
                actions.append(Fetch(need.symbol, request.content, urgent=not need.renews))
            else:
                self._outbox.put(Waiting(request.content, purpose, about=need.symbol))

    # -- messages --

    def _messages(self, messages: Iterable[Message], now: int) -> Sequence[Action]:
        actions: list[Action] | None = None
        due = False
        for message in messages:
            kind = type(message)
            if kind is TradePrint:
                continue
            if isinstance(message, (Delta, Snapshot)):
                due = self.guard.message(message, now) or due
                continue
            if actions is None:
                actions = []
            due = self._control(message, now, actions) or due
        if due:
            return [*(actions or ()), *self.advance(now)]
        return actions or ()

    def _control(self, message: Message, now: int, actions: list[Action]) -> bool:
        """Take what is not market data; say whether something became due."""
        if isinstance(message, Heartbeat):
            if message.reply is not None and self._phase is not _Phase.ENDED:
                # The venue hangs up if this waits behind anything.
                self._outbox.pass_by(now)
                actions.append(Send(message.reply.decode()))
        elif isinstance(message, Subscribed):
            self.missing.difference_update(message.channels)
            for symbol, depth in message.depths:
                self.guard.depth(symbol, depth)
            for channel, reason in message.refused:
                actions.extend(self._told.once("subscription_refused", channel, reason))
            return self._confirmed(message.id) or self._not_carried(message, now)
        elif isinstance(message, Answer):
            actions.extend(self._answered(message.id, now))
            if message.error:
                return self._refused(message, now, actions)
            return self._confirmed(message.id)
        elif isinstance(message, Notice):
            if not message.ends_connection:
                actions.extend(self._told.once("exchange_says", "", message.text))
            elif self._phase is _Phase.RUNNING:
                text = f"the venue announced: {message.text}"[:100]
                self._end(actions, Close(text, planned=True))
        return False

    def _answered(self, ping_id: int, now: int) -> Sequence[Action]:
        sent = self._pings.pop(ping_id, None)
        return () if sent is None else [Record(FrameKind.PONG, b"%d" % (now - sent))]

    def _confirmed(self, request_id: int) -> bool:
        if self._phase is _Phase.LEAVING:
            self._leaving.discard(request_id)
            return not self._leaving
        return False

    def _refused(self, answer: Answer, now: int, actions: list[Action]) -> bool:
        if self._phase is _Phase.LEAVING:
            return self._confirmed(answer.id)
        if self._phase is _Phase.RUNNING and 1 <= answer.id <= self._subscribes:
            self._end(actions, Close(f"subscription refused: {answer.error}"[:100]))
            return False
        for symbol, ids in self._asks.items():
            if answer.id in ids:
                self.guard.failed(symbol, answer.error, now)
                return True
        return False

    def _not_carried(self, answer: Subscribed, now: int) -> bool:
        """Take the venue's word that a book which was asked for anew will not come.

        Waiting for it would hold one of the few places of books that can be healed.
        """
        if answer.channels or self._phase is not _Phase.RUNNING:
            return False
        for symbol, ids in self._asks.items():
            # The last message of a request is the one that subscribes.
            if ids and answer.id == ids[-1]:
                reason = answer.refused[0][1] if answer.refused else "not confirmed"
                self.guard.failed(symbol, reason, now)
                return True
        return False

    # -- sending --

    def _pump(self, now: int, actions: list[Action]) -> None:
        """Send what waits, as fast as the venue allows."""
        for waiting in self._outbox.take(now):
            actions.append(Send(waiting.text))
            if waiting.purpose is Purpose.PING:
                self._pings = {waiting.id: now}
                continue
            for message in self.exchange.decode_sent(waiting.text.encode()):
                self.guard.sent(message)
            if waiting.about:
                self.guard.asked(waiting.about, now)
            elif waiting.purpose is Purpose.SUBSCRIBE:
                self._subscribed(now)

    def _subscribed(self, now: int) -> None:
        """A message of a subscription was sent: with the last one, begin to wait for the venue."""
        if self._outbox.holds(Purpose.SUBSCRIBE):
            return
        self._acknowledged_by = now + self._acknowledge_wait if self.missing else NEVER
        if not self._is_subscribed:
            self._is_subscribed = True
            self._told.subscribed(now)
            self.guard.subscribed(now)

    def _take_ids(self, count: int) -> range:
        ids = range(self._next_id, self._next_id + count)
        self._next_id += count
        return ids

    def _end(self, actions: list[Action], close: Close) -> None:
        self._phase = _Phase.ENDED
        self._outbox.clear()
        actions.append(close)

    def _arm(self, now: int) -> None:
        """Work out the next deadline."""
        deadline = NEVER
        if self._phase is _Phase.RUNNING and not self._paused:
            deadline = min(
                self._life.deadline,
                self._plan_at,
                self._ping_at,
                self._acknowledged_by,
                self._told.deadline,
                self.guard.next_deadline(),
            )
        elif self._phase is _Phase.LEAVING:
            deadline = self._leave_by
        self.deadline = min(deadline, self._outbox.ready_at(now))
