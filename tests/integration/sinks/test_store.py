"""Inserts whose outcome was in doubt, repeated against a real ClickHouse."""

from collections.abc import Iterator

import msgspec
import pytest

from core.blocks import Block, BlockBuilder, Marks
from core.rows import Place
from schemas.codec import decode_events, encode_events
from sinks.store import NoDatabaseError, Store, UnseenError
from tests.integration.sinks.rig import Rig
from tests.schemas.records import trade_events

FACTS = 5


@pytest.fixture
def store(rig: Rig) -> Iterator[Store]:
    made = Store(rig.settings.clickhouse, timeout_s=30)
    yield made
    made.close()


@pytest.fixture
def block() -> Block:
    """One record of trades."""
    builder = BlockBuilder("trades", Place("cluster/topic", "trades", 0), first=0, marks=Marks())
    ((_, value),) = encode_events(trade_events(1, FACTS), 0, 0)
    builder.add(0, len(value), decode_events("trades", value), 0)
    return builder.close()


def test_database_that_nobody_has_made_is_told_from_other_troubles(rig: Rig) -> None:
    elsewhere = msgspec.structs.replace(rig.settings.clickhouse, database="nobody_has_made_it")
    store = Store(elsewhere, timeout_s=30)

    with pytest.raises(NoDatabaseError, match="nobody_has_made_it"):
        store.missing_columns()
    store.close()


def forget_rows(rig: Rig, table: str) -> None:
    """Leave ClickHouse as a kill does that comes after the token and before the part."""
    rig.command(f"DELETE FROM {table} WHERE true")
    assert rig.count(table) == 0


def test_rows_of_a_token_that_was_spent_without_them_are_stored(
    rig: Rig, store: Store, block: Block
) -> None:
    store.insert_rows(block, check=False)
    forget_rows(rig, "trades")
    store.insert_rows(block, check=False)
    # So far it is as feared: to ClickHouse the repeat is a duplicate.
    assert rig.count() == 0

    assert store.insert_rows(block, check=True) == 2 * FACTS
    assert rig.count() == FACTS
    assert store.insert_rows(block, check=True) == 0
    assert rig.count() == FACTS


def test_account_of_a_token_that_was_spent_without_it_is_stored(
    rig: Rig, store: Store, block: Block
) -> None:
    store.insert_account(block, check=False)
    forget_rows(rig, "blocks")

    store.insert_account(block, check=True)
    store.insert_account(block, check=True)

    assert rig.count("blocks") == 1


def test_rows_that_are_accepted_and_never_seen_are_an_error(
    rig: Rig, store: Store, block: Block
) -> None:
    """As a replica that is late shows it; another token would store them twice."""
    rig.command("RENAME TABLE trades TO kept")
    rig.command("CREATE TABLE trades AS kept ENGINE = Null")

    with pytest.raises(UnseenError, match="accepted into trades"):
        store.insert_rows(block, check=True)
