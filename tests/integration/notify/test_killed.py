"""Notifiers killed with SIGKILL, between any two steps and at random moments."""

import asyncio
import random
import signal
from collections import Counter

import pytest

from core.stability.alerts import Phase
from schemas.topics import ALERTS
from sinks.notify.courier import Step
from tests.integration.notify.rig import NotifyRig, Told
from tests.integration.sinks.rig import eventually

pytestmark = pytest.mark.timeout(500)


@pytest.mark.parametrize("step", Step)
async def test_notifier_killed_between_two_steps_loses_and_doubles_nothing(
    lone_rig: NotifyRig, step: Step
) -> None:
    """Only between the receiver's word and our receipt is it told again, under the same id."""
    rig = lone_rig
    command = ("-m", "tests.integration.notify.dying_notifier", step.value)
    incidents = [f"i{number}" for number in range(4)]
    rig.servers["pager"].mood = lambda got: 400 if got.incident == "i1" else 202
    async with rig.writer() as writer:
        with rig.notifier(notify__instance_id="one") as first:
            # What is over before the first notifier is nobody's.
            await first.ready()
        for number, incident in enumerate(incidents):
            await writer.open(incident, number % 2)
            await writer.resolve(incident, number % 2)
        deaths = (1,) if step is Step.GIVEN_UP else (1, 3)
        for tasks in deaths:
            with rig.notifier(*command, str(tasks), "pager", notify__instance_id="one") as dying:
                await eventually(lambda: dying.process.poll() is not None, "crash")
            assert dying.process.returncode == -signal.SIGKILL
        with rig.notifier(notify__instance_id="one") as last:
            await last.ready()
            await rig.settled()

    told = Counter(rig.servers["pager"].told)
    assert set(told) == {(each, phase) for each in ("i0", "i2", "i3") for phase in _PHASES}
    repeated = sum(told.values()) - len(told)
    assert repeated == (len(deaths) if step is Step.TAKEN else 0)
    # Likewise the letter, between being written and the receipt.
    letters = await rig.letters()
    assert len(letters) == (2 if step is Step.GIVEN_UP else 1)
    assert {letter.offset for letter in letters} == {0}


async def test_notifier_killed_at_random_moments_loses_nothing(rig: NotifyRig) -> None:
    """What is doubled is what was between the receiver's word and the receipt: one a death."""
    draw = random.Random(11)
    incidents: list[str] = []
    stop = asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            incident = f"i{len(incidents)}"
            incidents.append(incident)
            partition = len(incidents) % 2
            await writer.open(incident, partition)
            await asyncio.sleep(0.05)
            await writer.resolve(incident, partition)
            if draw.random() < 0.2:
                await writer.again(draw.randint(1, 5))

    deaths = 6
    async with rig.writer() as writer:
        with rig.notifier(notify__instance_id="one") as notifier:
            await notifier.ready()
        writing = asyncio.create_task(load())
        for _ in range(deaths):
            with rig.notifier(notify__instance_id="one") as notifier:
                await notifier.ready()
                await asyncio.sleep(draw.uniform(0.1, 1.0))
                notifier.kill()
        stop.set()
        await writing
        with rig.notifier(notify__instance_id="one") as notifier:
            await notifier.ready()
            await rig.all_told(2 * len(incidents))
            await rig.settled()

    for server in rig.servers.values():
        told = Counter(server.told)
        assert set(told) == {(each, phase) for each in incidents for phase in _PHASES}
        assert sum(told.values()) - len(told) <= deaths
        assert server.refused == []
        _assert_opened_before_resolved(server.told)


async def test_what_is_open_and_ended_in_a_log_that_was_made_anew_is_told(rig: NotifyRig) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    from infra.cli.topics import make_topics

    async with rig.writer() as writer:
        with rig.notifier() as notifier:
            await notifier.ready()
            await writer.open("a")
            await rig.all_told(1)
    admin = AIOKafkaAdminClient(bootstrap_servers=rig.kafka.bootstrap)
    await admin.start()
    await admin.delete_topics([rig.topic(ALERTS)])
    await asyncio.sleep(1)
    await admin.close()
    await make_topics(rig.settings)
    async with rig.writer() as writer:
        await writer.open("b")
        await writer.resolve("a")
        with rig.notifier() as notifier:
            await notifier.ready()
            await rig.all_told(3)

    assert sorted(rig.servers["hook"].told) == [("a", "open"), ("a", "resolve"), ("b", "open")]


_PHASES = [phase.name.lower() for phase in Phase]


def _assert_opened_before_resolved(told: list[Told]) -> None:
    opened: set[str] = set()
    for incident, phase in told:
        if phase == "resolve":
            assert incident in opened, incident
        opened.add(incident)
