"""What the campaign in real time plays: how faults are dealt, and that their names are known."""

import pytest

from infra.chaos.campaign import CampaignSettings
from infra.chaos.goals import goal_of
from infra.chaos.live_campaign import dealt
from infra.chaos.live_faults import FAULTS, PRICE_FAULTS, SERVER_FAULTS, VENUE_FAULTS
from infra.chaos.scenarios import SCENARIOS


def test_faults_are_named_as_in_virtual_time() -> None:
    """So both modes are scored and reported alike, and aim at the same kinds of alert."""
    known = {each.name: each for each in SCENARIOS}

    for fault in (*FAULTS, *PRICE_FAULTS, *VENUE_FAULTS, *SERVER_FAULTS):
        assert fault.name in known
        assert goal_of(fault.fault, fault.variant)
    for own in (*FAULTS, *PRICE_FAULTS, *VENUE_FAULTS):
        assert set(own.exchanges) <= set(known[own.name].exchanges)


@pytest.mark.parametrize("injections", [1, 10, 17])
def test_every_class_gets_as_many_as_asked_for(injections: int) -> None:
    deal = dealt(CampaignSettings(injections=injections))
    dealt_out = [fault for deck in deal.connections.values() for fault in deck]

    for name in {fault.fault for fault in FAULTS}:
        variants = {each.variant for each in FAULTS if each.fault == name}
        wanted = injections * (len(variants) if name in ("F1", "F7") else 1)
        assert sum(fault.fault == name for fault in dealt_out) == wanted
    for fault in PRICE_FAULTS:
        assert sum(each is fault for each, _ in deal.prices) == injections
    assert {exchange for _, exchange in deal.prices} <= {"deribit", "binance", "kraken"}
    # One of these is one for each of a venue's four connections.
    assert injections <= 4 * sum(map(len, deal.venues.values())) < injections + 4
    assert deal.servers == list(SERVER_FAULTS)
    for exchange, deck in deal.connections.items():
        assert all(exchange in fault.exchanges for fault in deck)


def test_faults_are_dealt_by_the_seed_alone() -> None:
    first, again, other = (dealt(CampaignSettings(injections=20, seed=seed)) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_only_classes_asked_for_are_dealt() -> None:
    deal = dealt(CampaignSettings(injections=3, faults=("F9",)))

    assert {fault.fault for deck in deal.connections.values() for fault in deck} == {"F9"}
    assert deal.count() == 3
