"""Records of every kind for tests: hypothesis strategies, and a few literal ones."""

from typing import Any

from hypothesis import strategies as st

from core.events import (
    FACT_PLACES,
    BookSnapshot,
    BookState,
    Events,
    Fault,
    FaultKind,
    Side,
    StreamCheckpoint,
    StreamSecond,
    Trade,
)
from core.frames import CHAIN_BYTES, Address, Frame, FrameBatch, FrameKind
from core.letters import DeadLetter
from core.notify.receipts import Outcome, Receipt
from core.notify.silences import Matchers, Once, Silence
from core.stability.alerts import Alert, AlertKind, Phase, Severity
from core.stability.score import Component
from core.stability.states import StreamState
from core.venues.mids import Mid
from core.venues.seconds import VenueSecond

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
COUNTER = st.integers(0, 2**63 - 1)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
DECIMALS = st.from_regex(r"[0-9]{1,20}(\.[0-9]{1,18})?", fullmatch=True)
ADDRESSES = st.builds(
    Address,
    exchange=st.sampled_from(["kraken", "deribit"]),
    shard=NAMES,
    line=st.sampled_from("AB"),
    epoch=COUNTER,
)
FRAMES = st.builds(
    Frame,
    kind=st.sampled_from(FrameKind),
    ts_recv=INT64,
    ts_mono=INT64,
    where=NAMES,
    payload=st.binary(max_size=50),
)
FRAME_BATCHES = st.builds(
    FrameBatch,
    address=ADDRESSES,
    number=COUNTER,
    chain_before=st.binary(min_size=CHAIN_BYTES, max_size=CHAIN_BYTES),
    chain=st.binary(min_size=CHAIN_BYTES, max_size=CHAIN_BYTES),
    frames=st.lists(FRAMES, min_size=1, max_size=5),
)
RECEIPTS = st.builds(
    Receipt,
    receiver=NAMES,
    alert_id=NAMES,
    phase=st.sampled_from(Phase),
    outcome=st.sampled_from(Outcome),
    partition=st.integers(0, 2**31 - 1),
    ts=INT64,
    alert=st.binary(max_size=50),
)
PATTERNS = st.lists(NAMES, max_size=3).map(tuple)
SILENCES = st.builds(
    Silence,
    name=NAMES,
    matchers=st.builds(Matchers, *[PATTERNS] * len(Matchers.__struct_fields__)),
    window=st.builds(Once, INT64, INT64),
    reason=NAMES,
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TRADES = st.builds(
    Trade,
    number=COUNTER,
    index=st.integers(0, 2**31 - 1),
    symbol=NAMES,
    trade_id=NAMES,
    sequence=st.none() | COUNTER,
    price=DECIMALS,
    size=DECIMALS,
    side=st.sampled_from(Side),
    ts_event=INT64,
    ts_recv=INT64,
    quality=st.integers(0, 2**16 - 1),
)


@st.composite
def _books(draw: st.DrawFn) -> BookSnapshot:
    bids, asks = draw(st.integers(0, 4)), draw(st.integers(0, 4))

    def ladder(count: int) -> list[int]:
        return draw(st.lists(COUNTER, min_size=count, max_size=count))

    return BookSnapshot(
        number=draw(COUNTER),
        index=draw(st.integers(0, 2**31 - 1)),
        symbol=draw(NAMES),
        sequence=draw(st.none() | INT64),
        ts_event=draw(st.none() | INT64),
        ts_recv=draw(INT64),
        ts_sample=draw(INT64),
        quality=draw(st.integers(0, 2**16 - 1)),
        price_exponent=draw(st.integers(0, 18)),
        size_exponent=draw(st.integers(0, 18)),
        bid_prices=ladder(bids),
        bid_sizes=ladder(bids),
        ask_prices=ladder(asks),
        ask_sizes=ladder(asks),
        digest=draw(st.integers(0, 2**32 - 1)),
    )


BOOKS = _books()
FAULTS = st.builds(
    Fault,
    number=COUNTER,
    index=st.integers(0, 2**31 - 1),
    kind=st.sampled_from(FaultKind),
    symbol=NAMES,
    channel=NAMES,
    expected=NAMES,
    found=NAMES,
    count=st.none() | INT64,
    unit=NAMES,
    ts_recv=INT64,
)
SECONDS = st.builds(
    StreamSecond,
    number=COUNTER,
    index=st.integers(0, 2**31 - 1),
    channel=NAMES,
    symbol=NAMES,
    book_state=st.none() | st.sampled_from(BookState),
    state=st.none() | st.sampled_from(StreamState),
    is_blind=st.booleans(),
    score_binding=st.none() | st.sampled_from(Component),
    score_unit=NAMES,
    **{
        name: st.none() | FLOATS
        for name in StreamSecond.__struct_fields__
        if StreamSecond.__annotations__[name] == float | None
    },
    **{
        name: st.none() | INT64
        for name in StreamSecond.__struct_fields__
        if StreamSecond.__annotations__[name] == int | None
    },
    **{
        name: INT64
        for name in StreamSecond.__struct_fields__
        if StreamSecond.__annotations__[name] is int and name not in ("number", "index")
    },
)
ALERTS = st.builds(
    Alert,
    number=st.integers(0, 2**46),
    index=st.integers(0, FACT_PLACES - 1),
    alert_id=NAMES,
    phase=st.sampled_from(Phase),
    kind=st.sampled_from(AlertKind),
    severity=st.sampled_from(Severity),
    channel=NAMES,
    symbol=NAMES,
    ts=INT64,
    ts_effect=INT64,
    ts_detected=INT64,
    metric=NAMES,
    value=FLOATS,
    threshold=FLOATS,
    unit=NAMES,
    detail=NAMES,
    hits=COUNTER,
    children=COUNTER,
)
VENUES = st.builds(
    VenueSecond,
    number=COUNTER,
    index=st.integers(0, 2**31 - 1),
    symbol=NAMES,
    instrument=NAMES,
    ts=INT64,
    is_fresh=st.booleans(),
    venues=st.integers(0, 2**31 - 1),
    unchanged_s=st.none() | INT64,
    is_judged=st.booleans(),
    mid_shard=NAMES,
    mid_line=NAMES,
    mid_epoch=INT64,
    mid_number=COUNTER,
    **{
        name: st.none() | FLOATS
        for name in VenueSecond.__struct_fields__
        if VenueSecond.__annotations__[name] == float | None
    },
)
MIDS = st.builds(
    Mid,
    number=st.integers(0, 2**46),
    index=st.integers(0, FACT_PLACES - 1),
    instrument=NAMES,
    symbol=NAMES,
    second=INT64,
    exponent=st.integers(0, 18),
    bid=st.none() | COUNTER,
    ask=st.none() | COUNTER,
    ts_book=INT64,
)
CHECKPOINTS = st.builds(
    StreamCheckpoint,
    number=COUNTER,
    index=st.integers(0, 2**31 - 1),
    channel=NAMES,
    symbol=NAMES,
    state=st.binary(max_size=50),
)
LETTERS = st.builds(
    DeadLetter,
    topic=NAMES,
    partition=st.integers(0, 2**31 - 1),
    offset=COUNTER,
    consumer=st.sampled_from(["sink", "processor"]),
    reason=NAMES,
    ts=INT64,
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=50),
    log_id=NAMES,
)


@st.composite
def events(draw: st.DrawFn) -> Events:
    """Events with at least one fact of each kind."""
    return Events(
        address=draw(ADDRESSES),
        number=draw(COUNTER),
        trades=draw(st.lists(TRADES, min_size=1, max_size=4)),
        books=draw(st.lists(BOOKS, min_size=1, max_size=3)),
        faults=draw(st.lists(FAULTS, min_size=1, max_size=3)),
        seconds=draw(st.lists(SECONDS, min_size=1, max_size=3)),
        alerts=draw(st.lists(ALERTS, min_size=1, max_size=3)),
        checkpoints=draw(st.lists(CHECKPOINTS, min_size=1, max_size=3)),
        mids=draw(st.lists(MIDS, min_size=1, max_size=3)),
        venues=draw(st.lists(VENUES, min_size=1, max_size=3)),
    )


def trade(number: int = 0, index: int = 0, **fields: Any) -> Trade:
    """A literal trade."""
    values: dict[str, Any] = {
        "symbol": "BTC/USD",
        "trade_id": f"t{number}-{index}",
        "sequence": None,
        "price": "97123.5",
        "size": "0.00100000",
        "side": Side.BUY,
        "ts_event": 1_700_000_000_000_000_000 + number,
        "ts_recv": 1_700_000_000_005_000_000 + number,
        "quality": 0,
    }
    return Trade(number=number, index=index, **values | fields)


def trade_events(
    number: int, count: int = 2, *, shard: str = "s0", epoch: int = 1_700_000_000_000_000_000
) -> Events:
    """Literal events of one raw record: `count` trades from frame `number` on."""
    address = Address("kraken", shard, "A", epoch)
    trades = [trade(number, index) for index in range(count)]
    return Events(address, number, trades, [], [], [])
