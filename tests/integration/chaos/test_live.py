"""The campaign in real time, small: real sockets, a proxy, Kafka and a Faust worker."""

from pathlib import Path

import pytest

from infra.chaos.campaign import CampaignSettings
from infra.chaos.live_campaign import run_live


@pytest.mark.alone
async def test_faults_in_real_time_are_found_once_each_and_rightly_named(tmp_path: Path) -> None:
    """Faults that need no rhythm to be known, so that there is nothing to wait for first."""
    settings = CampaignSettings(
        injections=2, clean_hours=0.0, seed=3, faults=("F5", "F9", "F11", "F14"), controls=0
    )
    found = await run_live(settings, tmp_path, warm_up_s=15.0, told=lambda *_: None)

    assert found["mode"] == "live"
    assert found["injections"] == found["detectable"] >= 6
    assert found["misses"] == found["false_alarms"] == 0, found["examples"]
    assert found["diagnosis"] == 1.0
    assert found["alerts_per_fault"]["exactly_one"] == 1.0
