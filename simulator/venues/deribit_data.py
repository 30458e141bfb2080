"""Deribit's market data as JSON texts: books, trades, tickers, instruments.

Numbers are printed as Deribit prints them: floats with a point or an exponent. Nothing here knows
of sockets or requests.
"""

from collections.abc import Iterable, Mapping

from simulator.instruments import Instrument
from simulator.market import Change, Market, Trade
from simulator.wire import FloatTexts, float_texts

INDEX_SHARE = 0.9998  # the index as a share of the price, so that the two differ
CREATED_MS = 1_534_242_287_000
OPEN_INTEREST = 716_004_750


class Texts:
    """Prices and sizes of one instrument."""

    __slots__ = ("price", "size")

    def __init__(self, instrument: Instrument) -> None:
        """Start with nothing remembered."""
        self.price: FloatTexts
        self.size: FloatTexts
        self.price, self.size = float_texts(instrument)


def notification(channel: str, data: str) -> str:
    """Return a subscription notification."""
    return (
        '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"'
        f'{channel}","data":{data}}}}}'
    )


def book_snapshot(market: Market, texts: Texts) -> str:
    """Return the data of a full book, best levels first."""
    price, size, sizes = texts.price, texts.size, market.engine.sizes
    sides = (
        ",".join(f'["new",{price[key]},{size[sizes[key]]}]' for key in reversed(keys))
        for keys in (market.engine.bids, market.engine.asks)
    )
    bids, asks = sides
    return (
        f'{{"timestamp":{market.ts_event // 1_000_000},"type":"snapshot",'
        f'"change_id":{market.sequence},"instrument_name":"{market.symbol}",'
        f'"bids":[{bids}],"asks":[{asks}]}}'
    )


def book_change(market: Market, texts: Texts, changes: Iterable[Change], previous: int) -> str:
    """Return the data of changed levels since the message with id `previous`."""
    price, size = texts.price, texts.size
    bids: list[str] = []
    asks: list[str] = []
    for key, before, after in changes:
        action = "change" if before and after else "new" if after else "delete"
        (bids if key > 0 else asks).append(f'["{action}",{price[key]},{size[after]}]')
    return (
        f'{{"timestamp":{market.ts_event // 1_000_000},"type":"change",'
        f'"change_id":{market.sequence},"instrument_name":"{market.symbol}",'
        f'"bids":[{",".join(bids)}],"asks":[{",".join(asks)}],"prev_change_id":{previous}}}'
    )


def price_levels(market: Market, texts: Texts, depth: int) -> str:
    """Return `"bids":[[price,amount],...],"asks":[...]` of the best levels."""
    price, size, sizes = texts.price, texts.size, market.engine.sizes
    bids, asks = (
        ",".join(f"[{price[key]},{size[sizes[key]]}]" for key in keys) for keys in market.top(depth)
    )
    return f'"bids":[{bids}],"asks":[{asks}]'


def trade(market: Market, texts: Texts, made: Trade) -> str:
    """Return one trade; the same trade gives the same text, live and as history."""
    instrument = market.instrument
    ts_ms = made.ts_event // 1_000_000
    price = made.price * instrument.tick / 10**instrument.price_decimals
    mark = price * (0.99995 if made.buy else 1.00005)
    digits = instrument.price_decimals + 1
    return (
        f'{{"timestamp":{ts_ms},"price":{texts.price[made.price]},'
        f'"direction":"{"buy" if made.buy else "sell"}",'
        f'"index_price":{round(price * INDEX_SHARE, digits)!r},"trade_id":"{made.tag}",'
        f'"instrument_name":"{market.symbol}","trade_seq":{made.sequence},'
        f'"amount":{texts.size[made.size]},"mark_price":{round(mark, digits)!r},'
        f'"tick_direction":{made.tick_direction},"starbase_match_id":"{made.tag + (1 << 57)}",'
        f'"contracts":{float(made.size)!r},"starbase_timestamp":{made.ts_event}}}'
    )


def ticker_fields(market: Market, texts: Texts) -> str:
    """Return the members of a ticker; an empty side is 0.0 at 0.0."""
    instrument = market.instrument
    price, size, sizes = texts.price, texts.size, market.engine.sizes
    bids, asks = market.engine.bids, market.engine.asks
    best_bid, bid_size = (price[bids[-1]], size[sizes[bids[-1]]]) if bids else ("0.0", "0.0")
    best_ask, ask_size = (price[asks[-1]], size[sizes[asks[-1]]]) if asks else ("0.0", "0.0")
    middle = market.middle * instrument.tick / 10**instrument.price_decimals
    digits = instrument.price_decimals + 1
    index = round(middle * INDEX_SHARE, digits)
    volume = float(texts.size[market.volume])
    dollars = round(volume if instrument.quote == "USD" else volume * middle, 2)
    last_price = price[market.history[-1].price] if market.history else "null"
    return (
        f'"timestamp":{market.ts_event // 1_000_000},"state":"open",'
        f'"stats":{{"high":{price[market.high]},"low":{price[market.low]},"price_change":null,'
        f'"volume":{volume!r},"volume_usd":{dollars!r},"volume_notional":{dollars!r}}},'
        f'"index_price":{index!r},"instrument_name":"{market.symbol}","last_price":{last_price},'
        f'"settlement_price":{price[instrument.start]},'
        f'"min_price":{round(middle * 0.985, digits)!r},'
        f'"max_price":{round(middle * 1.015, digits)!r},"open_interest":{OPEN_INTEREST},'
        f'"mark_price":{round(middle, digits)!r},{kind_fields(instrument, middle)}'
        f'"estimated_delivery_price":{index!r},"best_ask_price":{best_ask},'
        f'"best_bid_price":{best_bid},"best_ask_amount":{ask_size},"best_bid_amount":{bid_size}'
    )


def kind_fields(instrument: Instrument, middle: float) -> str:
    """Return the members that only perpetuals or only options have."""
    if instrument.kind == "perpetual":
        return (
            '"interest_value":0.05636261630352104,"current_funding":2.081e-05,'
            '"funding_8h":0.00010036,'
        )
    if instrument.kind == "option":
        return (
            f'"underlying_price":{middle * 1_000_000 // 10!r},"underlying_index":"index_price",'
            '"mark_iv":61.2,"bid_iv":59.4,"ask_iv":63.1,"interest_rate":0.0,'
            '"greeks":{"vega":20.05335,"theta":-5.65962,"rho":4.91491,"gamma":1e-05,'
            '"delta":0.05785},'
        )
    return ""


def instrument_entry(instrument: Instrument, number: int) -> Mapping[str, object]:
    """Return one entry of the instrument list."""
    step = instrument.lot / 10**instrument.size_decimals
    counter = instrument.quote if instrument.kind != "option" else "USD"
    entry: dict[str, object] = {
        "tick_size": instrument.tick / 10**instrument.price_decimals,
        "tick_size_steps": [],
        "taker_commission": 0.0005,
        "settlement_period": "perpetual" if instrument.kind == "perpetual" else "month",
        "settlement_currency": instrument.settle,
        "rfq": False,
        "quote_currency": instrument.quote,
        "price_index": f"{instrument.base}_{counter}".lower(),
        "min_trade_amount": step,
        "max_liquidation_commission": 0.0075,
        "max_leverage": 50,
        "maker_commission": 0.0,
        "kind": "option" if instrument.kind == "option" else "future",
        "is_active": True,
        "state": "open",
        "instrument_name": instrument.symbol,
        "instrument_id": 210_000 + number,
        "instrument_type": "reversed" if instrument.settle == instrument.base else "linear",
        "expiration_timestamp": instrument.expiry_ms,
        "creation_timestamp": CREATED_MS,
        "counter_currency": counter,
        "contract_size": step,
        "block_trade_commission": 0.0001,
        "base_currency": instrument.base,
    }
    if instrument.kind == "option":
        entry |= {"strike": float(instrument.strike), "option_type": instrument.option}
    return entry
