"""Real notifiers on real Kafka: whatever happens, each incident is told once."""

import asyncio
import json
import signal
import time

import pytest

from core.notify.receipts import Outcome
from core.stability.alerts import Phase
from tests.integration.notify.rig import NS, NotifyRig, until

pytestmark = pytest.mark.timeout(500)


async def test_notifier_tells_every_receiver_in_its_own_format(full_rig: NotifyRig) -> None:
    rig = full_rig
    with rig.notifier() as notifier:
        await notifier.ready()
        async with rig.writer() as writer:
            for number in range(3):
                await writer.open(f"i{number}", number % 2)
            await rig.all_told(3)
            for number in range(3):
                await writer.resolve(f"i{number}", number % 2)
            await rig.all_told(6)
        await until(lambda: notifier.metric("md_notify_lag_records") == 0, "no lag")
        await until(lambda: notifier.metric("md_notify_waiting_alerts") == 0, "nobody waiting")
        delivered = notifier.metric("md_notify_delivered_alerts_total")
        live = notifier.health("live")
        await rig.settled()
        output = notifier.end()

    assert notifier.process.returncode == 0, output
    assert (delivered, live[0]) == (30, 200)
    rig.assert_each_once(["i0", "i1", "i2"], "hook", "binary", "pager", "chat")
    firing = [got.body["annotations"]["alert_id"] for got in rig.servers["prometheus"].got]
    assert sorted(firing) == ["i0", "i0", "i1", "i1", "i2", "i2"]
    assert rig.servers["prometheus"].refused == []
    assert "0123456789abcdef" not in output


async def test_receiver_that_is_down_holds_up_no_other_and_gets_each_once(rig: NotifyRig) -> None:
    """Also what opened and was resolved meanwhile, in order; and a restart in between."""
    incidents = [f"i{number}" for number in range(6)]
    hook, pager = rig.servers["hook"], rig.servers["pager"]
    await pager.stop()
    async with rig.writer() as writer:
        with rig.notifier(notify__instance_id="one") as notifier:
            await notifier.ready()
            for number, incident in enumerate(incidents[:4]):
                await writer.open(incident, number % 2)
            await writer.resolve("i0", 0)
            await rig.all_told(5, "hook")
            status, page = notifier.health("ready")
            notifier.kill()
        with rig.notifier(notify__instance_id="one") as notifier:
            await notifier.ready()
            for number, incident in enumerate(incidents[4:]):
                await writer.open(incident, number % 2)
            for number, incident in enumerate(incidents[1:], 1):
                await writer.resolve(incident, number % 2)
            await rig.all_told(12, "hook")
            # Gauges are set once a second.
            await until(lambda: notifier.metric("md_notify_waiting_alerts") == 6, "six waiting")
            oldest = notifier.metric("md_notify_oldest_seconds")
            attempts = notifier.metric("md_notify_failed_attempts_total")
            await pager.start()
            await rig.all_told(12, "pager")
            await asyncio.sleep(0.5)

    assert status == 200
    assert "pager" in page["checks"]["alerts"]["detail"]
    assert (oldest > 0, attempts > 0) == (True, True)
    rig.assert_each_once(incidents)
    assert next(told for told in pager.told if told[1] == "open") == ("i0", "open")
    assert len(hook.got) == 12
    assert await rig.letters() == []


async def test_repeated_alerts_are_told_once(rig: NotifyRig) -> None:
    """Also by a notifier that starts between an alert and its repeat."""
    async with rig.writer() as writer:
        with rig.notifier() as notifier:
            await notifier.ready()
            await writer.open("a")
            await writer.open("b")
            await writer.again(2)
            await writer.resolve("a")
            await writer.again(3)
            await rig.all_told(3)
        with rig.notifier() as notifier:
            await notifier.ready()
            await writer.again(3)
            await writer.resolve("b")
            await writer.again(4)
            await rig.all_told(4)
            await until(lambda: notifier.metric("md_notify_lag_records") == 0, "no lag")

    rig.assert_each_once(["a", "b"])


async def test_refused_alert_becomes_a_dead_letter_and_its_end_is_not_told(rig: NotifyRig) -> None:
    rig.servers["pager"].mood = lambda got: 400 if got.incident == "bad" else 202
    async with rig.writer() as writer:
        with rig.notifier() as notifier:
            await notifier.ready()
            for incident in ("bad", "good"):
                await writer.open(incident)
                await writer.resolve(incident)
            await rig.all_told(4, "hook")
            await rig.all_told(2, "pager")
            await until(lambda: notifier.metric("md_notify_lag_records") == 0, "no lag")

    letters = await rig.letters()
    assert [(letter.consumer, letter.offset) for letter in letters] == [("notify/pager", 0)]
    assert letters[0].reason == "refused: HTTP 400: said by the receiver"
    assert letters[0].value == rig.written[0][1]
    rig.assert_each_once(["good"], "pager")
    rig.assert_each_once(["bad", "good"], "hook")


async def test_alert_that_is_not_taken_past_the_limit_becomes_a_dead_letter(rig: NotifyRig) -> None:
    rig.servers["pager"].mood = lambda got: 503
    async with rig.writer() as writer:
        with rig.notifier(notify__give_up_after_s="2") as notifier:
            await notifier.ready()
            await writer.open("a")
            await writer.resolve("a")
            await until(
                lambda: notifier.metric("md_notify_dead_letter_alerts_total") == 1, "a letter"
            )
            await until(lambda: notifier.metric("md_notify_lag_records") == 0, "no lag")

    (letter,) = await rig.letters()
    assert "not taken for 2 s: HTTP 503" in letter.reason or "not taken for 3 s" in letter.reason
    rig.assert_each_once(["a"], "hook")


async def test_alert_that_makes_a_receiver_fail_holds_up_no_other(rig: NotifyRig) -> None:
    bad = True
    rig.servers["pager"].mood = lambda got: 500 if bad and got.incident == "bad" else 202
    async with rig.writer() as writer:
        with rig.notifier() as notifier:
            await notifier.ready()
            await writer.open("bad")
            for number in range(5):
                await writer.open(f"i{number}")
            await rig.all_told(5, "pager")
            bad = False
            await rig.all_told(6, "pager")

    assert {incident for incident, _ in rig.servers["pager"].told[:5]} == {
        f"i{number}" for number in range(5)
    }


async def test_new_receiver_is_told_what_is_open_and_not_what_is_over(rig: NotifyRig) -> None:
    async with rig.writer() as writer:
        await writer.open("over")
        await writer.resolve("over")
        await writer.open("open")
        with rig.notifier() as notifier:
            await notifier.ready()
            await rig.all_told(1)
            await writer.resolve("open")
            await rig.all_told(2)

    rig.assert_each_once(["open"])


@pytest.mark.timeout(500)
async def test_partitions_shared_anew_and_a_zombie_tell_nothing_twice(rig: NotifyRig) -> None:
    """One joins under load, one is killed, one is frozen and wakes up as a zombie."""
    incidents: list[str] = []

    async def load(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            incident = f"i{len(incidents)}"
            incidents.append(incident)
            await writer.open(incident, len(incidents) % 2)
            await writer.resolve(incident, len(incidents) % 2)
            await asyncio.sleep(0.05)

    async with rig.writer() as writer:
        with rig.notifier() as first:
            await first.ready()
            await load(1)
            with rig.notifier() as second:
                await load(3)
                await second.ready()
                with rig.notifier() as third:
                    await load(2)
                    await third.ready()
                    # Between two tasks: what is cut in the middle of one is another test.
                    await rig.all_told(2 * len(incidents))
                    await asyncio.sleep(1)
                    first.signal(signal.SIGSTOP)
                    second.kill()
                    await load(2)
                    await rig.all_told(2 * len(incidents))
                    first.signal(signal.SIGCONT)
                    await load(2)
                    await rig.all_told(2 * len(incidents))

    rig.assert_each_once(incidents)


async def test_silenced_incident_is_told_when_the_silence_ends_if_it_is_still_open(
    rig: NotifyRig,
) -> None:
    until_s = int(time.time()) + 12
    rig.settings_of = {
        "NOTIFY__SILENCES__MOVE__SYMBOLS": "quiet*",
        "NOTIFY__SILENCES__MOVE__ENDS": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until_s)),
        "NOTIFY__SILENCES__MOVE__REASON": "they move",
    }
    async with rig.writer() as writer:
        with rig.notifier() as notifier:
            await notifier.ready()
            await writer.open("quiet1")
            await writer.open("quiet2")
            await writer.open("loud")
            await writer.resolve("quiet1")
            await rig.all_told(1)
            early = list(rig.servers["hook"].told)
            # One that is killed before its receipt is kept may tell it again.
            await until(
                lambda: notifier.metric("md_notify_delivered_alerts_total") == 2, "two delivered"
            )
            await asyncio.sleep(1)
            notifier.kill()
        with rig.notifier() as notifier:
            await notifier.ready()
            await rig.all_told(2)
            late = time.time()
            await writer.resolve("quiet2")
            await writer.resolve("loud")
            await rig.all_told(4)

    assert early == [("loud", "open")]
    assert late >= until_s
    rig.assert_each_once(["loud", "quiet2"])


async def test_silences_made_and_ended_at_run_time_hold_and_let_go(rig: NotifyRig) -> None:
    async with rig.writer() as writer:
        with rig.notifier() as notifier:
            await notifier.ready()
            arguments = ("--kind", "gap", "--symbol", "x", "--for", "1h", "--reason", "known")
            name = (await rig.command("silence", "add", *arguments)).strip()
            await asyncio.sleep(1)
            await writer.open("a", symbol="x")
            await writer.open("b", symbol="y")
            await rig.all_told(1)
            listed = json.loads(await rig.command("silence", "list", "--json"))
            await rig.command("silence", "expire", name)
            await rig.all_told(2)
            shown = await rig.command("silence", "list")

    assert (listed["name"], listed["state"], listed["reason"]) == (name, "holds", "known")
    assert shown == "nothing is silent\n"
    assert rig.servers["hook"].told == [("b", "open"), ("a", "open")]


async def test_alertmanager_is_told_again_of_what_is_open_also_after_a_restart(
    full_rig: NotifyRig,
) -> None:
    rig, server = full_rig, full_rig.servers["prometheus"]
    async with rig.writer() as writer:
        with rig.notifier(notify__repeat_interval_s="1") as notifier:
            await notifier.ready()
            await writer.open("a")
            await until(lambda: len(server.got) >= 3, "repeats")
        before = len(server.got)
        with rig.notifier(notify__repeat_interval_s="1"):
            await until(lambda: len(server.got) >= before + 2, "repeats")
            await writer.resolve("a")
            await until(lambda: server.got[-1].phase == "resolve", "an end")
            before = len(server.got)
            await asyncio.sleep(2.5)

    assert len(server.got) == before
    assert len({got.incident for got in server.got}) == 1
    assert [got.phase for got in server.got].count("resolve") == 1
    rig.assert_each_once(["a"], "hook", "binary", "pager", "chat")


async def test_receipts_of_what_is_suppressed_are_kept_only_while_needed(rig: NotifyRig) -> None:
    """What flaps is held; what was short is never told, whatever a restart finds."""
    rig.settings_of = {"NOTIFY__FLAP_OPENINGS": "2", "NOTIFY__FLAP_HOLD_S": "60"}
    await rig.servers["pager"].stop()
    now = time.time_ns()
    async with rig.writer() as writer:
        with rig.notifier() as notifier:
            await notifier.ready()
            for number in range(4):
                ts = now + number * NS // 10
                await writer.open(f"i{number}", symbol="x", ts=ts)
                await writer.resolve(f"i{number}", symbol="x", ts=ts + NS // 20)
            await rig.all_told(4, "hook")
            await until(
                lambda: notifier.metric("md_notify_suppressed_alerts_total") >= 2, "suppression"
            )
            notifier.kill()
        kept = await rig.receipts()
        with rig.notifier():
            await rig.servers["pager"].start()
            await rig.all_told(4, "pager")

    suppressed = {each.alert_id for each in kept if each.outcome is Outcome.SUPPRESSED}
    assert suppressed == {"i2", "i3"}
    assert {each.phase for each in kept if each.alert_id in ("i0", "i1")} == {Phase.RESOLVE}
    rig.assert_each_once(["i0", "i1"])
