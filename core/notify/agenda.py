"""What is still to be told of the alerts of one partition, for every receiver by itself.

Of one incident and one receiver:

    (none) --opening--> WAITING --delivered--> TOLD --resolution delivered--> DONE
                           |  `--resolved before it was free--> DONE (suppressed: neither is told)
                           `--refused--> DONE (nor is its resolution told)

Fed with the alerts of the partition from its beginning, and with the receipts of what was told
before. `committed` is what an earlier notifier has settled: incidents that were resolved before it
are over and done. Those that are still open are told to whoever has no receipt of them, so a new
receiver is told what is open, and everything from then on.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Final

import msgspec

from core.blocks import Marks
from core.notify.damping import Damping, Flaps
from core.notify.notices import Notice, Stream
from core.notify.receipts import Outcome, Receipt
from core.notify.silences import Silence, free_from
from core.stability.alerts import Phase, Severity

TROUBLED_FROM: Final = 3
"""Failures of one task at a receiver that answers, after which others go before it."""


class Progress(Enum):
    """How far a receiver is with an incident."""

    WAITING = "waiting"
    TOLD = "told"
    DONE = "done"


class Task(msgspec.Struct, frozen=True):
    """An alert to be told to a receiver; or, if `is_suppressed`, to be noted as never told.

    `free_ts` is from when on it might be told, ns; `before` is how often the same had opened
    within damping's window before.
    """

    receiver: str
    notice: Notice
    free_ts: int
    before: int
    is_suppressed: bool = False

    @property
    def alert_id(self) -> str:
        """The incident."""
        return self.notice.alert.alert_id

    @property
    def phase(self) -> Phase:
        """Whether it has opened or was resolved."""
        return self.notice.alert.phase


class _Incident(msgspec.Struct):
    opening: Notice | None
    free_ts: int = 0
    before: int = 0
    resolution: Notice | None = None
    progress: dict[str, Progress] = {}
    failures: dict[str, int] = {}


class Agenda:
    """See the module's docstring; `receivers` are those that exist, by the least severity."""

    def __init__(
        self,
        receivers: Mapping[str, Severity],
        damping: Damping,
        *,
        committed: int = 0,
        receipts: Iterable[Receipt] = (),
        openings: Mapping[str, Notice] | None = None,
    ) -> None:
        self.repeats = 0
        """Alerts that were on the topic before."""
        self.position = 0
        """Offset of the alert that is read next."""
        self._receivers = receivers
        self._committed = committed
        self._flaps = Flaps(damping)
        self._marks = Marks()
        self._receipts: dict[str, dict[str, Receipt]] = {}
        self._incidents: dict[str, _Incident] = {}
        self._pending: dict[str, dict[str, None]] = {name: {} for name in receivers}
        """Incidents of which there is something to tell, in the order in which they came."""
        self._over: dict[str, int] = {}
        """Incidents that are resolved and not yet settled, with the resolution's offset."""
        self._finished: dict[str, int] = {}
        for receipt in receipts:
            self._receipts.setdefault(receipt.alert_id, {})[receipt.receiver] = receipt
        # Openings that the topic may have forgotten.
        for alert_id, opening in (openings or {}).items():
            self._open(alert_id, opening, free_ts=opening.alert.ts, before=0)

    # -- reading --

    def read(self, notice: Notice) -> None:
        """Take the next alert of the partition; one that is a repeat changes nothing."""
        self.position = notice.offset + 1
        if self._marks.repeats(notice.header):
            self.repeats += 1
            return
        self._marks.advance(notice.header)
        alert = notice.alert
        if alert.phase is Phase.RESOLVE:
            self._resolve(notice)
            return
        free_ts, before = self._flaps.opened(notice.stream, alert.ts)
        self._open(alert.alert_id, notice, free_ts=free_ts, before=before)

    def skip(self, offset: int) -> None:
        """Pass over a record that is no alert."""
        self.position = offset + 1

    def _open(self, alert_id: str, opening: Notice, *, free_ts: int, before: int) -> None:
        progress = {
            name: self._so_far(alert_id, name)
            for name, least in self._receivers.items()
            if opening.alert.severity >= least
        }
        self._incidents[alert_id] = _Incident(opening, free_ts, before, progress=progress)
        for name, state in progress.items():
            # One that was known from a receipt takes its place among those that are read.
            self._pending[name].pop(alert_id, None)
            if state is Progress.WAITING:
                self._pending[name][alert_id] = None

    def _resolve(self, resolution: Notice) -> None:
        alert_id = resolution.alert.alert_id
        incident = self._incidents.get(alert_id)
        if incident is None or resolution.offset < self._committed:
            # The topic has forgotten its opening, or the group its commit: only who was told of it
            # is told of its end.
            states = {name: self._so_far(alert_id, name) for name in self._receivers}
            progress: dict[str, Progress] = {
                name: state for name, state in states.items() if state is not Progress.WAITING
            }
            if Progress.TOLD not in progress.values():
                self._forget(alert_id, resolution.offset)
                return
            opening = None if incident is None else incident.opening
            incident = self._incidents[alert_id] = _Incident(opening, progress=progress)
            for pending in self._pending.values():
                pending.pop(alert_id, None)
        incident.resolution = resolution
        self._over[alert_id] = resolution.offset
        for name, state in incident.progress.items():
            if state is not Progress.DONE:
                self._pending[name][alert_id] = None
        self._finish_if_done(alert_id, incident)

    def _so_far(self, alert_id: str, receiver: str) -> Progress:
        """Return how far a receiver is: it may have been told of an incident that was known from
        another's receipt, before the log came to it."""
        incident = self._incidents.get(alert_id)
        state = Progress.WAITING
        if incident is not None:
            state = incident.progress.get(receiver, Progress.WAITING)
        if state is Progress.WAITING:
            return _progress(self._receipts.get(alert_id, {}).get(receiver))
        return state

    # -- telling --

    def tasks(
        self, receiver: str, now: int, silences: Sequence[Silence], *, troubled: bool = False
    ) -> Iterator[Task]:
        """Yield what may be told to a receiver at `now`, ns, in order; the first is to be next.

        Two lists: tasks that a receiver has refused to answer for a few times, though it answers,
        are `troubled`, and so is what comes after them in the same stream: others do not wait.
        """
        behind: set[Stream] = set()
        for alert_id in self._pending[receiver]:
            incident = self._incidents[alert_id]
            first = incident.opening or incident.resolution
            assert first is not None, "an incident without any alert"
            stream = first.stream
            is_troubled = stream in behind or incident.failures.get(receiver, 0) >= TROUBLED_FROM
            if is_troubled:
                behind.add(stream)
            if is_troubled is troubled:
                task = _task(receiver, incident, now, silences)
                if task is not None:
                    yield task

    def failed(self, task: Task) -> None:
        """Note that a receiver answered, and could not take a task."""
        incident = self._incidents[task.alert_id]
        count = incident.failures.get(task.receiver, 0) + 1
        incident.failures = incident.failures | {task.receiver: count}

    def settle(self, task: Task, outcome: Outcome) -> None:
        """Note what came of a task, once its receipt is durable."""
        incident = self._incidents[task.alert_id]
        is_told = task.phase is Phase.OPEN and outcome is Outcome.DELIVERED
        state = Progress.TOLD if is_told else Progress.DONE
        incident.progress = incident.progress | {task.receiver: state}
        incident.failures = {
            name: count for name, count in incident.failures.items() if name != task.receiver
        }
        if state is Progress.DONE or incident.resolution is None:
            del self._pending[task.receiver][task.alert_id]
        self._finish_if_done(task.alert_id, incident)

    def firing(self, receiver: str) -> list[Notice]:
        """Return the openings that a receiver was told of and that are not resolved."""
        return [
            incident.opening
            for incident in self._incidents.values()
            if incident.opening is not None
            and incident.resolution is None
            and incident.progress.get(receiver) is Progress.TOLD
        ]

    # -- what is known --

    @property
    def settled_before(self) -> int:
        """Offset before which nothing is left to be told, but for incidents that are open.

        It never goes back: what was settled for all is not asked about again.
        """
        return max(min(self._over.values(), default=self.position), self._committed)

    @property
    def open_incidents(self) -> int:
        """Incidents that are open, told or not."""
        return sum(each.resolution is None for each in self._incidents.values())

    @property
    def held(self) -> int:
        """Incidents in memory."""
        return len(self._incidents)

    def oldest(self, receiver: str, now: int, silences: Sequence[Silence]) -> int | None:
        """Return the time, ns, since when a receiver could have been told what waits longest."""
        for troubled in (False, True):
            for task in self.tasks(receiver, now, silences, troubled=troubled):
                return max(task.free_ts, task.notice.alert.ts)
        return None

    def waiting(self, receiver: str) -> int:
        """Return how many incidents there are of which a receiver is to be told something."""
        return len(self._pending[receiver])

    def forgettable(self, committed: int) -> dict[str, Collection[str]]:
        """Return whose receipts of which incidents are needed no more once `committed` is.

        By incident, all receivers that ever had a receipt of it, also those that are gone.
        """
        found: dict[str, Collection[str]] = {}
        for alert_id, offset in list(self._finished.items()):
            if offset < committed:
                del self._finished[alert_id]
                known = self._receipts.pop(alert_id, {})
                found[alert_id] = {*known, *self._receivers}
        return found

    # -- ends --

    def _finish_if_done(self, alert_id: str, incident: _Incident) -> None:
        is_over = incident.resolution is not None
        if is_over and all(each is Progress.DONE for each in incident.progress.values()):
            self._forget(alert_id, self._over[alert_id])

    def _forget(self, alert_id: str, offset: int) -> None:
        incident = self._incidents.pop(alert_id, None)
        self._over.pop(alert_id, None)
        for pending in self._pending.values():
            pending.pop(alert_id, None)
        # Of what was settled before this notifier there are receipts only where forgetting failed.
        if alert_id in self._receipts or (incident is not None and offset >= self._committed):
            self._finished[alert_id] = offset


def _progress(receipt: Receipt | None) -> Progress:
    if receipt is None:
        return Progress.WAITING
    is_told = receipt.phase is Phase.OPEN and receipt.outcome is Outcome.DELIVERED
    return Progress.TOLD if is_told else Progress.DONE


def _task(receiver: str, incident: _Incident, now: int, silences: Sequence[Silence]) -> Task | None:
    """Return what is to be told of an incident now, None while it is held."""
    opening, resolution, before = incident.opening, incident.resolution, incident.before
    if incident.progress[receiver] is Progress.TOLD:
        assert resolution is not None, "told, open and pending"
        return Task(receiver, resolution, resolution.alert.ts, before)
    assert opening is not None, "neither told nor known"
    free_ts = free_from(opening, incident.free_ts, silences)
    if free_ts > opening.alert.ts:
        # The ends of windows and of incidents are compared in the log's own time; the present is
        # asked only while the incident has no end.
        if resolution is not None and resolution.alert.ts < free_ts:
            return Task(receiver, opening, free_ts, before, is_suppressed=True)
        if resolution is None and now < free_ts:
            return None
    return Task(receiver, opening, free_ts, before)
