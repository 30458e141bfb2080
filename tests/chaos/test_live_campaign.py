"""What the campaign in real time plays: how faults are dealt, and that their names are known."""

import pytest

from infra.chaos.campaign import CampaignSettings
from infra.chaos.goals import goal_of
from infra.chaos.live_campaign import dealt
from infra.chaos.live_faults import FAULTS, SERVER_FAULTS
from infra.chaos.scenarios import SCENARIOS


def test_faults_are_named_as_in_virtual_time() -> None:
    """So both modes are scored and reported alike, and aim at the same kinds of alert."""
    known = {each.name: each for each in SCENARIOS}

    for fault in (*FAULTS, *SERVER_FAULTS):
        assert fault.name in known
        assert goal_of(fault.fault, fault.variant)
    for own in FAULTS:
        assert set(own.exchanges) <= set(known[own.name].exchanges)


@pytest.mark.parametrize("injections", [1, 10, 17])
def test_every_class_gets_as_many_as_asked_for(injections: int) -> None:
    decks, servers = dealt(CampaignSettings(injections=injections))
    dealt_out = [fault for deck in decks.values() for fault in deck]

    for name in {fault.fault for fault in FAULTS}:
        variants = {each.variant for each in FAULTS if each.fault == name}
        wanted = injections * (len(variants) if name in ("F1", "F7") else 1)
        assert sum(fault.fault == name for fault in dealt_out) == wanted
    assert servers == list(SERVER_FAULTS)
    for exchange, deck in decks.items():
        assert all(exchange in fault.exchanges for fault in deck)


def test_faults_are_dealt_by_the_seed_alone() -> None:
    first, again, other = (
        {name: [fault.name for fault in deck] for name, deck in dealt(settings)[0].items()}
        for settings in (
            CampaignSettings(injections=20, seed=5),
            CampaignSettings(injections=20, seed=5),
            CampaignSettings(injections=20, seed=6),
        )
    )
    assert first == again
    assert first != other


def test_only_classes_asked_for_are_dealt() -> None:
    decks, servers = dealt(CampaignSettings(injections=3, faults=("F9",)))

    assert {fault.fault for deck in decks.values() for fault in deck} == {"F9"}
    assert servers == []
