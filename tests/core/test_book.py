"""The order book against a plain dict of decimals, checksums against the page that defines them."""

import zlib
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.book import SIZES_READ, Level, OrderBook, ladder_crc32
from core.decimals import DecimalError
from core.published import Publisher
from tests.core import recordings

# Few prices, so that levels are hit again; written in every way that venues write them.
TICKS = st.integers(1, 40)


def _spellings(mantissa: int, exponent: int) -> list[str]:
    plain = format(Decimal(mantissa).scaleb(-exponent), "f")
    padded = plain + ("0" if "." in plain else ".00")
    return [plain, padded, f"0{plain}", f"{mantissa}e-{exponent}", f"{mantissa}E-0{exponent}"]


PRICES = st.builds(
    lambda tick, exponent, spelling: _spellings(tick * 5, exponent)[spelling],
    TICKS,
    st.sampled_from([0, 1, 1, 1, 2, 4, 9]),
    st.sampled_from([0, 0, 0, 1, 2, 3, 4]),
)
SIZES = st.builds(
    lambda units, exponent, spelling: _spellings(units, exponent)[spelling],
    st.sampled_from([0, 0, 0, 1, 7, 12_345_678, 10**18]),
    st.sampled_from([0, 1, 8, 18]),
    st.sampled_from([0, 0, 1, 3]),
)
LEVELS = st.lists(st.tuples(PRICES, SIZES), max_size=8)
STEPS = st.lists(
    st.tuples(st.sampled_from(["apply", "apply", "apply", "replace", "look"]), LEVELS, LEVELS),
    max_size=25,
)


class Model:
    """Two dicts of decimals."""

    def __init__(self) -> None:
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        self.unknown = 0

    def apply(self, bids: list[Level], asks: list[Level]) -> None:
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, size in levels:
                if Decimal(size):
                    side[Decimal(price)] = Decimal(size)
                elif side.pop(Decimal(price), None) is None:
                    self.unknown += 1

    def replace(self, bids: list[Level], asks: list[Level]) -> None:
        unknown = self.unknown
        self.bids, self.asks = {}, {}
        self.apply(bids, asks)
        self.unknown = unknown

    def ladder(self, name: str, depth: int = 0) -> list[Level]:
        side = sorted(getattr(self, name).items(), reverse=name == "bids")
        return [(_plain(price), _plain(size)) for price, size in side][: depth or None]


def _plain(value: Decimal) -> str:
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text or "0"


@settings(max_examples=80)
@given(steps=STEPS)
def test_book_after_any_changes_is_the_model(
    steps: list[tuple[str, list[Level], list[Level]]],
) -> None:
    """Also with what it keeps between changes: ladders, digests and the published top."""
    book, model = OrderBook(), Model()
    publisher = Publisher(5)
    for action, bids, asks in steps:
        if action == "apply":
            book.apply(bids, asks)
            model.apply(bids, asks)
        elif action == "replace":
            book.replace(bids, asks)
            model.replace(bids, asks)
        else:
            _compare_top(book, model, publisher)
        _compare(book, model)
    _compare_top(book, model, publisher)


def _compare(book: OrderBook, model: Model) -> None:
    bids, asks = model.ladder("bids"), model.ladder("asks")
    assert bids == book.ladder(book.bids)
    assert asks == book.ladder(book.asks)
    assert (bids[0] if bids else None) == book.best_bid()
    assert (asks[0] if asks else None) == book.best_ask()
    assert model.unknown == book.unknown_removals
    crossed = bool(model.bids and model.asks) and max(model.bids) >= min(model.asks)
    assert crossed is book.is_crossed()


def _compare_top(book: OrderBook, model: Model, publisher: Publisher) -> None:
    bids, asks = model.ladder("bids", 5), model.ladder("asks", 5)
    assert bids == book.ladder(book.bids, 5)
    try:
        top = publisher.top(book)
    except DecimalError:
        digits = [text.replace(".", "") for level in bids + asks for text in level]
        assert any(len(text) > 9 for text in digits), "only what is long does not fit 64 bits"
        return
    prices, sizes = Decimal(1).scaleb(-top.price_exponent), Decimal(1).scaleb(-top.size_exponent)
    for levels, made in (
        (bids, zip(top.bid_prices, top.bid_sizes, strict=True)),
        (asks, zip(top.ask_prices, top.ask_sizes, strict=True)),
    ):
        wanted = [(Decimal(price), Decimal(size)) for price, size in levels]
        assert wanted == [(price * prices, size * sizes) for price, size in made]
    assert top.digest == ladder_crc32(bids, asks)
    assert not top.is_shallow
    everything = [*top.bid_prices, *top.bid_sizes, *top.ask_prices, *top.ask_sizes]
    assert all(0 <= value < 1 << 63 for value in everything)


@settings(max_examples=50)
@given(bids=LEVELS, asks=LEVELS)
def test_book_digest_is_the_crc_of_its_canonical_text(bids: list[Level], asks: list[Level]) -> None:
    book, model = OrderBook(), Model()
    book.replace(bids, asks)
    model.replace(bids, asks)

    lines = [f"b {price} {size}\n" for price, size in model.ladder("bids")]
    lines += [f"a {price} {size}\n" for price, size in model.ladder("asks")]
    assert zlib.crc32("".join(lines).encode()) == book.crc32()


@settings(max_examples=50)
@given(levels=LEVELS, depth=st.integers(1, 8), more=LEVELS)
def test_book_side_cut_to_a_depth_keeps_the_best(
    levels: list[Level], depth: int, more: list[Level]
) -> None:
    book, model = OrderBook(), Model()
    book.replace(levels, [])
    model.replace(levels, [])
    book.checksum()
    book.bids.top(25, book.exponent)
    book.bids.truncate(depth)
    model.bids = dict(sorted(model.bids.items(), reverse=True)[:depth])
    book.apply(more, [])
    model.apply(more, [])

    assert model.ladder("bids") == book.ladder(book.bids)
    assert len(model.bids) == len(book.bids)


@settings(max_examples=60)
@given(levels=LEVELS, bad=st.sampled_from(["", "-1", "NaN", "1e999", "x", "1.", ".5", "٣"]))
def test_book_replaced_by_what_cannot_be_read_is_empty(levels: list[Level], bad: str) -> None:
    book = OrderBook()
    book.replace([("1", "1")], [("2", "1")])
    for broken in ([*levels, (bad, "1")], [*levels, ("1", bad)]):
        with pytest.raises(DecimalError):
            book.replace(levels, broken)

        assert not book.bids.keys
        assert not book.asks.keys
        assert book.best_bid() is None


# -- what is kept between changes --

FEW = st.tuples(
    st.sampled_from(["bid", "bid", "ask", "ask", "cut", "replace"]),
    st.integers(1, 14),
    st.sampled_from(["0.0", "1.0", "2.0", "3.5"]),
)


@settings(max_examples=150)
@given(steps=st.lists(FEW, min_size=5, max_size=40), depth=st.sampled_from([1, 3, 10, 12]))
def test_book_tells_no_level_as_it_was_before(
    steps: list[tuple[str, int, str]], depth: int
) -> None:
    """Few levels that change again and again, asked for after every change."""
    book, model = OrderBook(), Model()
    publisher = Publisher(depth)
    for action, tick, size in steps:
        bids: list[Level] = [(f"{50 - tick}.0", size)] if action == "bid" else []
        asks: list[Level] = [(f"{50 + tick}.0", size)] if action == "ask" else []
        if action == "cut":
            book.bids.truncate(tick)
            model.bids = dict(sorted(model.bids.items(), reverse=True)[:tick])
        elif action == "replace":
            bids, asks = model.ladder("bids", tick), [(f"{60 + tick}.0", size)]
            bids = [(f"{price}.0", f"{Decimal(units):.1f}") for price, units in bids]
            book.replace(bids, asks)
            model.replace(bids, asks)
        else:
            book.apply(bids, asks)
            model.apply(bids, asks)

        top = publisher.top(book)
        ladders = model.ladder("bids", depth), model.ladder("asks", depth)
        assert top.digest == ladder_crc32(*ladders)
        scale = Decimal(1).scaleb(-top.size_exponent)
        for sizes, ladder in zip((top.bid_sizes, top.ask_sizes), ladders, strict=True):
            assert [units * scale for units in sizes] == [Decimal(units) for _, units in ladder]
        whole = [
            [(f"{price}.0", f"{Decimal(units):.1f}") for price, units in model.ladder(side)]
            for side in ("bids", "asks")
        ]
        assert naive_checksum(whole[0], whole[1]) == book.checksum()


def test_book_whose_tops_differ_in_depth_is_shallow_where_it_is() -> None:
    book = OrderBook()
    book.replace([("10", "1"), ("9", "1")], [("11", "1"), ("12", "1"), ("13", "1")], limit=3)
    assert not Publisher(3).top(book).is_shallow
    book.apply([], [("13", "0")])
    assert Publisher(3).top(book).is_shallow
    book.replace([("10", "1"), ("9", "1"), ("8", "1")], [("11", "1")])
    assert not Publisher(5).top(book).is_shallow
    assert book.bids.floor is None


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ("9223372036854775807", True),
        ("9223372036854775808", False),
        ("9.223372036854775807", True),
        ("10.000000000000000000000", True),
        ("0.000100000000000000000", True),
        ("99.123456789012345678", False),
    ],
)
def test_book_is_published_only_as_64_bit_integers(size: str, fits: bool) -> None:
    book = OrderBook()
    book.replace([("1.5", size)], [("2.5", size)])
    if not fits:
        with pytest.raises(DecimalError):
            Publisher(5).top(book)
        return
    top = Publisher(5).top(book)

    assert top.size_exponent <= 18
    scale = Decimal(1).scaleb(-top.size_exponent)
    assert [units * scale for units in top.bid_sizes + top.ask_sizes] == [Decimal(size)] * 2


def test_book_remembers_a_bounded_number_of_texts() -> None:
    """Of prices few beyond its levels: hundreds of books live for months."""
    book = OrderBook()
    for n in range(70_000):
        book.apply([("1.5", f"{n}.5"), (f"{n}.25", "0")], [])

    assert len(SIZES_READ) <= 65_536
    assert len(book.bids.prices) <= 1_000
    assert book.best_bid() == ("1.5", "69999.5")


# -- the depth that is proven --


def test_book_of_a_limited_snapshot_publishes_no_level_below_it() -> None:
    book = OrderBook()
    book.replace([("10", "1"), ("9", "1")], [("11", "1")], limit=2)
    publisher = Publisher(3)

    book.apply([("8", "5")], [])
    top = publisher.top(book)
    assert (top.bid_prices, top.is_shallow) == ([10, 9], True)
    book.apply([("9", "0")], [])
    assert publisher.top(book).bid_prices == [10]
    book.apply([("9", "2")], [("12", "1"), ("13", "1")])
    top = publisher.top(book)
    assert (top.bid_prices, top.ask_prices, top.is_shallow) == ([10, 9], [11, 12, 13], True)


def test_book_with_finer_prices_keeps_its_proven_depth() -> None:
    book = OrderBook()
    book.replace([("10", "1"), ("9", "1")], [("11", "1")], limit=2)
    book.apply([("8.75", "1"), ("9.25", "1")], [])

    assert Publisher(5).top(book).bid_prices == [1000, 925, 900]


# -- Kraken's checksum, by the letter of its page --


def naive_checksum(bids: list[Level], asks: list[Level]) -> int:
    """Return what the page says: no point, no leading zeros, asks low to high, bids high to low."""
    text = ""
    for levels, is_falling in ((asks, False), (bids, True)):
        ordered = sorted(levels, key=lambda level: Decimal(level[0]), reverse=is_falling)
        for level in ordered[:10]:
            for number in level:
                text += number.replace(".", "").lstrip("0")
    return zlib.crc32(text.encode())


FIXED = st.dictionaries(
    st.integers(1, 99_999).map(lambda tick: f"{tick // 10}.{tick % 10}"),
    st.integers(1, 10**12).map(lambda units: f"{units // 10**8}.{units % 10**8:08}"),
    max_size=30,
)


@settings(max_examples=50)
@given(bids=FIXED, asks=FIXED, changes=st.lists(st.tuples(st.booleans(), FIXED), max_size=8))
def test_checksum_after_any_changes_is_that_of_the_page(
    bids: dict[str, str], asks: dict[str, str], changes: list[tuple[bool, dict[str, str]]]
) -> None:
    book = OrderBook()
    book.replace(list(bids.items()), list(asks.items()))
    assert naive_checksum(list(bids.items()), list(asks.items())) == book.checksum()
    for is_bid, change in changes:
        held = bids if is_bid else asks
        gone = dict.fromkeys(list(held)[:2], "0.00000000")
        levels = [*change.items(), *gone.items()]
        book.apply(levels if is_bid else [], [] if is_bid else levels)
        held |= change
        for price in gone:
            del held[price]

        assert naive_checksum(list(bids.items()), list(asks.items())) == book.checksum()


def test_checksum_of_the_documented_example_agrees() -> None:
    """The book and the value printed in Kraken's own guide to its v2 checksum."""
    asks = [
        *(("45285.2", "0.00100000"), ("45286.4", "1.54571953"), ("45286.6", "1.54571109")),
        *(("45289.6", "1.54560911"), ("45290.2", "0.15890660"), ("45291.8", "1.54553491")),
        *(("45294.7", "0.04454749"), ("45296.1", "0.35380000"), ("45297.5", "0.09945542")),
        ("45299.5", "0.18772827"),
    ]
    bids = [
        *(("45283.5", "0.10000000"), ("45283.4", "1.54582015"), ("45282.1", "0.10000000")),
        *(("45281.0", "0.10000000"), ("45280.3", "1.54592586"), ("45279.0", "0.07990000")),
        *(("45277.6", "0.03310103"), ("45277.5", "0.30000000"), ("45277.3", "1.54602737")),
        ("45276.6", "0.15445238"),
    ]
    book = OrderBook()
    book.replace(bids, asks)

    assert book.checksum() == 3310070434


@recordings.needed
def test_checksum_of_every_recorded_kraken_update_agrees() -> None:
    """An independent walk through a recording: the sums are those that Kraken sent."""
    counted = [
        book
        for name, result in recordings.expected().items()
        if name.startswith("kraken/")
        for book in result.get("books", {}).values()
    ]

    assert sum(book.get("checksum_ok", 0) for book in counted) > 1000


@pytest.mark.parametrize("place", range(12))
def test_checksum_covers_the_best_ten_levels_and_no_other(place: int) -> None:
    """The tenth level too, when it changes after it was summed up."""
    bids = [(f"{50 - n}.5", "1.0") for n in range(12)]
    asks = [(f"{60 + n}.5", "1.0") for n in range(12)]
    for side in (0, 1):
        book = OrderBook()
        book.replace(bids, asks)
        before = book.checksum()
        levels = [bids, asks][side]
        changed = [*levels[:place], (levels[place][0], "7.0"), *levels[place + 1 :]]
        book.apply(*([[changed[place]], []] if side == 0 else [[], [changed[place]]]))

        wanted = naive_checksum(*([changed, asks] if side == 0 else [bids, changed]))
        assert wanted == book.checksum()
        assert (wanted == before) is (place >= 10)


def test_book_cut_below_what_was_published_forgets_it() -> None:
    book = OrderBook()
    book.replace([(f"{50 - n}.5", "1.0") for n in range(12)], [])
    publisher = Publisher(5)
    publisher.top(book)
    book.checksum()
    book.bids.truncate(3)

    assert len(publisher.top(book).bid_prices) == 3
