"""What is told to whom: literal cases, and every history of crashes, silences and outages."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.notify.agenda import TROUBLED_FROM, Agenda, Task
from core.notify.damping import Damping
from core.notify.notices import Notice
from core.notify.receipts import Outcome, Receipt, receipt_key
from core.notify.silences import Matchers, Once, Silence, free_from
from core.stability.alerts import Phase, Severity
from tests.core.notify.alerts import EPOCH, S, alert_notice

NO_DAMPING = Damping(0, 1, 1)
OPEN, RESOLVE = Phase.OPEN, Phase.RESOLVE
ANY = {"a": Severity.INFO}
LATER = EPOCH + 10_000 * S


def agenda(*notices: Notice, **given: object) -> Agenda:
    made = Agenda(ANY, NO_DAMPING, **given)  # type: ignore[arg-type]
    for each in notices:
        made.read(each)
    return made


def opening(incident: str, offset: int, **fields: int | str) -> Notice:
    return alert_notice(incident, OPEN, offset=offset, **{"ts": EPOCH + offset * S} | fields)  # type: ignore[arg-type]


def resolution(incident: str, offset: int, **fields: int | str) -> Notice:
    return alert_notice(incident, RESOLVE, offset=offset, **{"ts": EPOCH + offset * S} | fields)  # type: ignore[arg-type]


def silence(begin_s: int, end_s: int, matchers: Matchers | None = None) -> Silence:
    window = Once(EPOCH + begin_s * S, EPOCH + end_s * S)
    return Silence("s", matchers or Matchers(), window, "")


def tell(made: Agenda, receiver: str = "a", silences: Sequence[Silence] = ()) -> list[str]:
    """Deliver all there is to tell, and return it."""
    told = []
    while (task := next(made.tasks(receiver, LATER, silences), None)) is not None:
        outcome = Outcome.SUPPRESSED if task.is_suppressed else Outcome.DELIVERED
        told.append(f"{task.alert_id} {task.phase.name} {outcome.name}")
        made.settle(task, outcome)
    return told


def test_incident_is_told_when_it_opens_and_when_it_is_resolved() -> None:
    made = agenda(opening("x", 0))
    first = tell(made)
    made.read(resolution("x", 1))

    assert first == ["x OPEN DELIVERED"]
    assert made.settled_before == 1
    assert tell(made) == ["x RESOLVE DELIVERED"]
    assert (made.settled_before, made.held, made.waiting("a")) == (2, 0, 0)


def test_incident_of_before_the_start_is_told_only_if_it_is_open() -> None:
    made = agenda(opening("x", 0), opening("y", 1), resolution("x", 2), committed=3)

    assert made.open_incidents == 1
    assert tell(made) == ["y OPEN DELIVERED"]


def test_receipt_of_what_was_told_keeps_it_from_being_told_again() -> None:
    receipts = [
        Receipt("a", "x", OPEN, Outcome.DELIVERED, 0, 0, b""),
        Receipt("a", "y", OPEN, Outcome.REFUSED, 0, 0, b""),
        Receipt("a", "z", RESOLVE, Outcome.DELIVERED, 0, 0, b""),
    ]
    log = [opening("x", 0), opening("y", 1), opening("z", 2)]
    log += [resolution("x", 3), resolution("y", 4), resolution("z", 5)]
    made = agenda(*log, receipts=receipts)

    assert tell(made) == ["x RESOLVE DELIVERED"]
    assert made.settled_before == 6
    assert set(made.forgettable(6)) == {"x", "y", "z"}
    assert made.forgettable(6) == {}


def test_incident_that_the_topic_has_forgotten_is_known_from_its_receipt() -> None:
    kept = opening("x", 0)
    receipts = [Receipt("a", "x", OPEN, Outcome.DELIVERED, 0, 0, b"bytes")]
    made = agenda(receipts=receipts, openings={"x": kept})

    assert made.firing("a") == [kept]
    made.read(resolution("x", 9))
    assert made.firing("a") == []
    assert tell(made) == ["x RESOLVE DELIVERED"]


def test_incident_that_is_known_from_a_receipt_keeps_its_place_in_the_log() -> None:
    receipts = [Receipt("b", "y", OPEN, Outcome.DELIVERED, 0, 0, b"y")]
    log = [opening("x", 0), opening("y", 1), resolution("x", 2)]
    everybody = {"a": Severity.INFO, "b": Severity.INFO}
    made = Agenda(everybody, NO_DAMPING, receipts=receipts, openings={"y": log[1]})
    for each in log:
        made.read(each)

    assert tell(made) == ["x OPEN DELIVERED", "x RESOLVE DELIVERED", "y OPEN DELIVERED"]


def test_receiver_told_of_an_incident_before_the_log_comes_to_it_is_told_once() -> None:
    receipts = [Receipt("a", "x", OPEN, Outcome.DELIVERED, 0, 0, b"x")]
    log = [opening("x", 0), resolution("x", 1)]
    everybody = {"a": Severity.INFO, "b": Severity.INFO}
    made = Agenda(everybody, NO_DAMPING, receipts=receipts, openings={"x": log[0]})

    assert tell(made, "b") == ["x OPEN DELIVERED"]
    made.read(log[0])
    assert tell(made, "b") == []
    made.read(log[1])
    assert tell(made, "b") == ["x RESOLVE DELIVERED"]


def test_end_of_an_incident_that_nobody_knows_is_told_to_who_was_told_of_it() -> None:
    receipts = [Receipt("a", "x", OPEN, Outcome.DELIVERED, 0, 0, b"")]

    assert tell(agenda(resolution("x", 9), receipts=receipts)) == ["x RESOLVE DELIVERED"]
    assert tell(agenda(resolution("x", 9))) == []


def test_end_is_told_to_who_was_told_of_the_opening_though_the_group_has_no_commit() -> None:
    receipts = [Receipt("a", "x", OPEN, Outcome.DELIVERED, 0, 0, b"")]
    log = [opening("x", 0), resolution("x", 1), opening("y", 2), resolution("y", 3)]
    made = agenda(*log, receipts=receipts, committed=4)

    assert made.settled_before == 4
    assert made.forgettable(4) == {}
    assert tell(made) == ["x RESOLVE DELIVERED"]
    assert set(made.forgettable(4)) == {"x"}


def test_end_of_what_was_refused_is_not_told() -> None:
    made = agenda(opening("x", 0), resolution("x", 1))
    made.settle(next(made.tasks("a", LATER, ())), Outcome.REFUSED)

    assert tell(made) == []
    assert made.settled_before == 2


def test_alert_below_a_receivers_severity_is_not_for_it() -> None:
    made = Agenda({"a": Severity.INFO, "b": Severity.CRITICAL}, NO_DAMPING)
    for each in (opening("x", 0), resolution("x", 1)):
        made.read(each)

    assert tell(made, "b") == []
    assert made.settled_before == 1
    assert len(tell(made, "a")) == 2
    assert made.settled_before == 2


def test_silenced_incident_is_told_later_if_it_is_open_then_and_else_never() -> None:
    log = [opening("short", 1), opening("long", 2), opening("loud", 3, symbol="ETH/USD")]
    log += [resolution("short", 5), resolution("long", 30), resolution("loud", 31)]
    quiet = [silence(0, 10, Matchers(symbols=("BTC*",)))]
    made = agenda(*log)

    assert tell(made, silences=quiet) == [
        "short OPEN SUPPRESSED",
        "long OPEN DELIVERED",
        "long RESOLVE DELIVERED",
        "loud OPEN DELIVERED",
        "loud RESOLVE DELIVERED",
    ]


def test_incident_is_held_by_the_clock_while_it_is_open_and_silenced() -> None:
    made = agenda(opening("x", 1))
    quiet = [silence(0, 10)]

    assert list(made.tasks("a", EPOCH + 10 * S - 1, quiet)) == []
    assert made.oldest("a", EPOCH + 5 * S, quiet) is None
    assert [task.alert_id for task in made.tasks("a", EPOCH + 10 * S, quiet)] == ["x"]
    assert made.oldest("a", EPOCH + 11 * S, quiet) == EPOCH + 10 * S


def test_clock_that_is_behind_the_log_holds_nothing_that_is_free() -> None:
    assert len(list(agenda(opening("x", 1)).tasks("a", 0, ()))) == 1


def test_silence_that_begins_after_an_opening_changes_nothing_for_it() -> None:
    made = agenda(opening("x", 1), resolution("x", 20))

    assert len(tell(made, silences=[silence(2, 10)])) == 2


def test_flapping_is_told_until_it_is_known_and_then_only_where_it_lasts() -> None:
    made = Agenda(ANY, Damping(2, 100 * S, 10 * S))
    offset = 0
    for number, lasted in enumerate((1, 1, 1, 20)):
        began = EPOCH + 21 * number * S
        made.read(opening(f"i{number}", offset, ts=began))
        made.read(resolution(f"i{number}", offset + 1, ts=began + lasted * S))
        offset += 2

    assert [told for told in tell(made) if "RESOLVE" not in told] == [
        "i0 OPEN DELIVERED",
        "i1 OPEN DELIVERED",
        "i2 OPEN SUPPRESSED",
        "i3 OPEN DELIVERED",
    ]


def test_task_that_fails_by_itself_lets_others_pass_but_not_of_its_own_stream() -> None:
    made = agenda(opening("bad", 0), opening("other", 1, symbol="ETH/USD"), opening("same", 2))
    for _ in range(TROUBLED_FROM):
        made.failed(next(made.tasks("a", LATER, ())))

    assert [task.alert_id for task in made.tasks("a", LATER, ())] == ["other"]
    assert [task.alert_id for task in made.tasks("a", LATER, (), troubled=True)] == ["bad", "same"]


def test_repeated_alert_changes_nothing() -> None:
    made = agenda(opening("x", 0), opening("x", 1, number=0))

    assert tell(made) == ["x OPEN DELIVERED"]
    assert (made.repeats, made.position) == (1, 2)


def test_record_that_is_no_alert_is_passed_over() -> None:
    made = agenda(opening("x", 0))
    tell(made)
    made.skip(1)

    assert made.settled_before == 2


# -- every history --

NAMES = ("a", "b")
STREAMS = ("BTC/USD", "ETH/USD")


@dataclass
class World:
    """A log, what is durable, and receivers that count what they were told."""

    log: list[Notice] = field(default_factory=list)
    receipts: dict[bytes, Receipt] = field(default_factory=dict)
    committed: int = 0
    told: dict[str, list[tuple[str, Phase]]] = field(default_factory=dict)
    cut: int = 0
    """Deliveries whose receipt was lost with the notifier."""

    def start(self, damping: Damping) -> Agenda:
        receipts = list(self.receipts.values())
        openings = {
            each.alert_id: next(one for one in self.log if one.value == each.alert)
            for each in receipts
            if each.alert
        }
        return Agenda(
            dict.fromkeys(NAMES, Severity.INFO),
            damping,
            committed=self.committed,
            receipts=receipts,
            openings=openings,
        )

    def keep(self, task: Task, outcome: Outcome) -> None:
        told = task.phase is OPEN and outcome is Outcome.DELIVERED
        value = task.notice.value if told else b""
        receipt = Receipt(task.receiver, task.alert_id, task.phase, outcome, 0, 0, value)
        self.receipts[receipt.key] = receipt

    def commit(self, made: Agenda) -> None:
        assert made.settled_before >= self.committed
        self.committed = made.settled_before
        for alert_id, names in made.forgettable(self.committed).items():
            for name in names:
                self.receipts.pop(receipt_key(name, alert_id), None)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.sampled_from(STREAMS)),
        st.tuples(st.just("resolve"), st.integers(0, 9)),
        st.tuples(st.just("repeat"), st.integers(1, 5)),
        st.tuples(st.just("read"), st.integers(1, 6)),
        st.tuples(st.just("tell"), st.sampled_from(NAMES)),
        st.tuples(st.just("crash"), st.just("")),
        st.tuples(st.just("cut"), st.sampled_from(NAMES)),
        st.tuples(st.just("commit"), st.just("")),
        st.tuples(st.just("wait"), st.integers(1, 30)),
    ),
    max_size=70,
)
SILENCES = st.lists(
    st.tuples(st.integers(0, 200), st.integers(1, 60), st.sampled_from(STREAMS)), max_size=3
).map(
    lambda drawn: [
        silence(begin, begin + length, Matchers(symbols=(symbol,)))
        for begin, length, symbol in drawn
    ]
)


@given(ACTIONS, SILENCES, st.sampled_from([NO_DAMPING, Damping(2, 60 * S, 15 * S)]))
@settings(max_examples=400)
def test_every_history_tells_each_incident_once_to_each_receiver(
    actions: list[tuple[str, int | str]], silences: list[Silence], damping: Damping
) -> None:
    """Crashes, outages, repeats and restarts, in any order; then all is read and told."""
    world, clock = _play(actions, silences, damping)

    _check(world, silences, damping)
    assert clock >= EPOCH


def _play(
    actions: list[tuple[str, int | str]], silences: list[Silence], damping: Damping
) -> tuple[World, int]:
    world = World(told={name: [] for name in NAMES})
    clock, read, still_open = EPOCH, 0, []
    made = world.start(damping)
    number = 0
    for action, value in actions:
        clock += S
        match action, value:
            case "open", str(symbol):
                number += 1
                name = f"i{number}"
                still_open.append((name, symbol))
                offset = len(world.log)
                world.log.append(opening(name, offset, ts=clock, number=number, symbol=symbol))
            case "resolve", int(index) if still_open:
                number += 1
                name, symbol = still_open.pop(index % len(still_open))
                offset = len(world.log)
                world.log.append(resolution(name, offset, ts=clock, number=number, symbol=symbol))
            case "repeat", int(count):
                for each in world.log[-count:]:
                    world.log.append(_moved(each, len(world.log)))
            case "read", int(count):
                for each in world.log[read : read + count]:
                    made.read(each)
                read = min(read + count, len(world.log))
            case "tell" | "cut", str(name) if read >= world.committed:
                task = next(made.tasks(name, clock, silences), None)
                if task is not None:
                    _do(world, made, task, is_cut=action == "cut")
                if action == "cut":
                    made, read = world.start(damping), 0
            case "crash", _:
                made, read = world.start(damping), 0
            case "commit", _ if read >= world.committed:
                world.commit(made)
            case "wait", int(seconds):
                clock += seconds * S
    for each in world.log[read:]:
        made.read(each)
    for name in NAMES:
        while (task := next(made.tasks(name, LATER, silences), None)) is not None:
            _do(world, made, task, is_cut=False)
    world.commit(made)
    assert made.settled_before == len(world.log)
    return world, clock


def _do(world: World, made: Agenda, task: Task, *, is_cut: bool) -> None:
    outcome = Outcome.SUPPRESSED if task.is_suppressed else Outcome.DELIVERED
    if not task.is_suppressed:
        world.told[task.receiver].append((task.alert_id, task.phase))
    if is_cut:
        world.cut += not task.is_suppressed
        return
    world.keep(task, outcome)
    made.settle(task, outcome)


def _moved(each: Notice, offset: int) -> Notice:
    return Notice(each.header, each.alert, 0, offset, each.value)


def _check(world: World, silences: list[Silence], damping: Damping) -> None:
    first: dict[tuple[str, Phase], Notice] = {}
    for each in world.log:
        first.setdefault((each.alert.alert_id, each.alert.phase), each)
    doubled = 0
    for name in NAMES:
        told = world.told[name]
        counts = Counter(told)
        doubled += sum(counts.values()) - len(counts)
        for (incident, phase), each in first.items():
            end = first.get((incident, RESOLVE))
            if phase is OPEN and damping is NO_DAMPING:
                free = free_from(each, each.alert.ts, silences)
                must = end is None or free <= end.alert.ts or free == each.alert.ts
                assert bool(counts[incident, OPEN]) is must, (name, incident)
            if phase is RESOLVE:
                assert bool(counts[incident, RESOLVE]) is bool(counts[incident, OPEN])
                if counts[incident, RESOLVE]:
                    assert told.index((incident, OPEN)) < told.index((incident, RESOLVE))
    assert doubled <= world.cut
    # What is over leaves nothing behind.
    assert {each.alert_id for each in world.receipts.values()} <= {
        incident for incident, phase in first if (incident, RESOLVE) not in first
    }


@pytest.mark.parametrize("at", range(8))
def test_crash_at_any_point_of_one_incident_loses_nothing(at: int) -> None:
    world = World(told={name: [] for name in NAMES})
    world.log = [opening("x", 0), resolution("x", 1)]
    made = world.start(NO_DAMPING)
    steps = 0
    for each in world.log:
        made.read(each)
    while (task := next(made.tasks("a", LATER, ()), None)) is not None:
        _do(world, made, task, is_cut=False)
        steps += 1
        if steps == at:
            made = world.start(NO_DAMPING)
            for each in world.log:
                made.read(each)

    assert world.told["a"] == [("x", OPEN), ("x", RESOLVE)]
