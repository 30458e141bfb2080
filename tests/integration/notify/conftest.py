"""Fixtures of the notifier's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.notify.rig import NotifyRig
from tests.integration.services import Kafka


@pytest.fixture
async def rig(kafka: Kafka) -> AsyncIterator[NotifyRig]:
    """A webhook called `hook` and a PagerDuty called `pager`."""
    made = NotifyRig(kafka, hook="structured", pager="pagerduty")
    await made.prepare()
    yield made
    await made.close()


@pytest.fixture
async def lone_rig(kafka: Kafka) -> AsyncIterator[NotifyRig]:
    """A PagerDuty called `pager` alone: no other is hit when its notifier is killed."""
    made = NotifyRig(kafka, pager="pagerduty")
    await made.prepare()
    yield made
    await made.close()


@pytest.fixture
async def full_rig(kafka: Kafka) -> AsyncIterator[NotifyRig]:
    """A receiver of every format."""
    made = NotifyRig(
        kafka,
        hook="structured",
        binary="binary",
        pager="pagerduty",
        chat="slack",
        prometheus="alertmanager",
    )
    await made.prepare()
    yield made
    await made.close()
