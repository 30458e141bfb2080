"""Clocks that are set, on a connection whose venue tells its time every three seconds."""

from copy import deepcopy
from random import Random

import msgspec
import pytest

from core.clock import ServerTime
from core.events import StreamSecond
from core.frames import Address, BatchBuilder, Frame, FrameKind
from core.stability.alerts import AlertKind, Phase
from core.stability.clocks import Clocks
from core.stability.states import StreamState
from tests.core.speakers import START_MS
from tests.core.stability.wire import LEARNED_S, MS, NS, Wire

OPEN = Phase.OPEN
EVERY_S = 3


class AskingWire(Wire):
    """A connection that is pinged. `ahead_ms` is the venue's clock, `set_ms` our own."""

    def __init__(self) -> None:
        self.ahead_ms = 0.0
        self.set_ms = 0
        self.asks = True
        self.seconds: list[StreamSecond] = []
        super().__init__()

    def live(self, seconds: int) -> list[tuple[Phase, AlertKind, str, str]]:
        """Let time pass, pinging every three seconds of it."""
        before = len(self.alerts)
        for _ in range(seconds):
            if self.asks and self.ms // 1000 % EVERY_S == 0:
                self.ask()
            super().live(1)
        return [(a.phase, a.kind, a.channel, a.symbol) for a in self.alerts[before:]]

    def speak(self, kind: str, symbol: str) -> None:
        """Let the venue speak by its own clock."""
        usual = self.latency_ms
        self.latency_ms -= int(self.ahead_ms)
        super().speak(kind, symbol)
        self.latency_ms = usual

    def ask(self) -> None:
        """Ping; the way there takes 5 ms, and the way back what all messages take."""
        back = self.latency_ms + self.random.randrange(self.spread_ms + 1)
        us = int((START_MS + self.ms + 5 + self.ahead_ms) * 1000)
        self.ms += 5 + back
        answer = {"jsonrpc": "2.0", "id": 9, "result": {}, "usIn": us, "usOut": us + 100}
        self.add(FrameKind.RECEIVED, msgspec.json.encode(answer))
        self.add(FrameKind.PONG, b"%d" % ((5 + back) * MS))

    def add(self, kind: FrameKind, payload: bytes = b"", where: str = "") -> None:
        """Log a frame by our own wall clock."""
        ts = (START_MS + self.ms + self.set_ms) * MS
        self.builder.add(Frame(kind, ts, (self.ms + 1) * MS, where, payload))
        batch = self.builder.cut()
        assert batch is not None
        events = self.pipeline.feed(batch)
        self.alerts += events.alerts
        self.seconds = events.seconds or self.seconds
        for second in events.seconds:
            assert second.state is not None
            self.states[second.channel, second.symbol] = second.state

    def corrected_ms(self) -> tuple[float, float]:
        """Return the last second's corrected latency and its uncertainty, ms."""
        data = next(second for second in self.seconds if second.channel == "data")
        assert data.latency_p50_ns is not None
        assert data.clock_offset_ns is not None
        assert data.clock_uncertainty_ns is not None
        return (data.latency_p50_ns + data.clock_offset_ns) / MS, data.clock_uncertainty_ns / MS


@pytest.fixture(scope="module")
def learned() -> AskingWire:
    """A connection on which everything has been well for long enough."""
    made = AskingWire()
    assert made.live(LEARNED_S) == []
    assert set(made.states.values()) == {StreamState.STABLE}
    return made


@pytest.fixture
def wire(learned: AskingWire) -> AskingWire:
    """Return a copy of it."""
    return deepcopy(learned)


@pytest.mark.parametrize("ahead_ms", [0, 2000, -2000])
def test_corrected_latency_is_true_whatever_the_clock_of_the_venue(ahead_ms: int) -> None:
    """Concept 14: within the stated uncertainty."""
    wire = AskingWire()
    wire.ahead_ms = ahead_ms
    assert wire.live(60) == []

    latency, uncertainty = wire.corrected_ms()
    assert uncertainty < 15
    assert abs(latency - 22) <= uncertainty + 3


@pytest.mark.parametrize("step_ms", [500, -500])
@pytest.mark.parametrize("phase_s", range(EVERY_S))
def test_venue_that_sets_its_clock_is_not_slow(
    wire: AskingWire, step_ms: int, phase_s: int
) -> None:
    wire.live(phase_s)
    wire.ahead_ms += step_ms
    found = wire.live(30)

    assert found == [(OPEN, AlertKind.CLOCK, "connection", "")]
    delay_ns = wire.alerts[0].ts_detected - (START_MS + (LEARNED_S + phase_s) * 1000) * MS
    assert delay_ns <= EVERY_S * NS
    assert 0.4 < wire.alerts[0].value <= 0.5
    latency, uncertainty = wire.corrected_ms()
    assert abs(latency - 22) <= uncertainty + 3


@pytest.mark.parametrize("phase_s", range(EVERY_S))
def test_way_that_becomes_slow_is_not_a_clock(wire: AskingWire, phase_s: int) -> None:
    wire.live(phase_s)
    wire.latency_ms += 300
    found = wire.live(30)

    assert found == [(OPEN, AlertKind.LATENCY, "data", "")]
    began_ns = (START_MS + (LEARNED_S + phase_s) * 1000) * MS
    assert wire.alerts[0].ts_detected - began_ns <= 6 * NS


def test_latency_is_told_without_the_clock_if_no_answer_comes(wire: AskingWire) -> None:
    wire.asks = False
    wire.latency_ms += 300
    found = wire.live(10)

    assert found == [(OPEN, AlertKind.LATENCY, "data", "")]


def test_venue_whose_clock_runs_away_is_told_of(wire: AskingWire) -> None:
    while not wire.alerts and wire.ms < 1500 * 1000:
        wire.ahead_ms -= 0.2
        wire.live(1)
    for _ in range(120):
        wire.ahead_ms -= 0.2
        wire.live(1)

    assert [(each.phase, each.kind, each.metric) for each in wire.alerts] == [
        (OPEN, AlertKind.CLOCK, "clock drift")
    ]


@pytest.mark.parametrize("step_ms", [700, -700])
def test_our_own_wall_clock_that_is_set_is_nobody_elses_fault(
    wire: AskingWire, step_ms: int
) -> None:
    """Concept 28. Neither the venue's clock nor its latency has changed."""
    wire.set_ms += step_ms
    found = wire.live(30)

    assert found == [(OPEN, AlertKind.LOCAL_CLOCK, "connection", "")]
    assert wire.alerts[0].value == pytest.approx(step_ms / 1000)
    latency, uncertainty = wire.corrected_ms()
    assert abs(latency - 22) <= uncertainty + 3


def test_new_socket_learns_the_clock_anew_and_judges_as_before(wire: AskingWire) -> None:
    wire.epoch += 1
    wire.builder = BatchBuilder(Address("deribit", "s", "A", wire.epoch))
    wire.alerts.clear()
    wire.open()
    assert [each.kind for each in wire.alerts if each.phase is OPEN] == [AlertKind.DISCONNECTED]
    wire.alerts.clear()
    wire.live(120)

    assert {each.kind for each in wire.alerts} == {AlertKind.DISCONNECTED}
    assert wire.corrected_ms()[1] < 15


# -- what latencies are corrected by --


class Answers:
    """A venue that is asked every three seconds, over ways that take 40 to 46 ms each."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clocks = Clocks()
        self.mono = NS
        self.ahead_ns = 0.0
        self.ppm = 0.0

    def come(self, count: int, back_ms: float | None = None) -> float:
        """Let so many answers come, `back_ms` on their way, and return the correction, ms."""
        for _ in range(count):
            self.mono += EVERY_S * NS
            self.ahead_ns += EVERY_S * NS * self.ppm / 1e6
            there, back = (self.random.uniform(40.0, 46.0) for _ in range(2))
            there_ns, back_ns = int(there * MS), int((back_ms or back) * MS)
            read = self.mono + there_ns + int(self.ahead_ns)
            received = self.mono + there_ns + back_ns
            self.clocks.told(self.mono, received, ServerTime(read, read, 1_000), 0)
            self.clocks.tick(0)
        assert self.clocks.read(received, received).correction_ns is not None
        return self.clocks.correction_ns / MS


@pytest.mark.parametrize("seed", range(5))
def test_one_way_that_was_quicker_moves_no_correction(seed: int) -> None:
    answers = Answers(seed)
    usual = answers.come(200)
    after = [answers.come(1, back_ms=3.0), *(answers.come(1) for _ in range(200))]

    assert abs(usual) < 3.0
    assert max(abs(each - usual) for each in after) < 6.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ppm", [-200.0, 200.0])
def test_correction_follows_a_clock_that_runs_away(ppm: float, seed: int) -> None:
    answers = Answers(seed)
    answers.come(200)
    answers.ppm = ppm

    for _ in range(400):
        found = answers.come(1)
        # Its answers count for up to four minutes.
        assert abs(found - answers.ahead_ns / MS) < 200e-6 * 240e3 + 10.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("step_ms", [-500, 500])
def test_correction_of_a_clock_that_was_set_is_not_moved_by_a_quick_way(
    step_ms: int, seed: int
) -> None:
    answers = Answers(seed)
    usual = answers.come(200)
    answers.ahead_ns += step_ms * MS
    found = [answers.come(3), answers.come(1, back_ms=3.0), *(answers.come(1) for _ in range(99))]

    assert max(abs(each - usual - step_ms) for each in found) < 10.0
