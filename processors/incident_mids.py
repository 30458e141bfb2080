"""Which mids an incident of venues was made of, and which socket carried those of one venue.

A function of records of `mids` alone, in the order of their partition. Their Kafka timestamps say
when a processor wrote them, which may be long after the second that they are of; so it is what the
venues say that counts.
"""

from collections.abc import Iterable
from typing import NamedTuple

from core.events import Header
from core.venues.comparison import counted
from core.venues.mids import Mid
from processors.bundle import LogRecord
from schemas.codec import decode_mid
from schemas.registry import CodecError


class Said(NamedTuple):
    """One mid, as a record of the log and as what it says."""

    record: LogRecord
    header: Header
    mid: Mid


class Carrier(NamedTuple):
    """The socket of a venue's mids, and the raw records that gave these: from offset `first` to
    `last` of one partition, the first of them when `second` began, s since the epoch."""

    exchange: str
    shard: str
    line: str
    partition: int
    first: int
    last: int
    second: int


def said_of(instrument: str, records: Iterable[LogRecord]) -> list[Said]:
    """Return the mids of one instrument; a record that is none says nothing."""
    found: list[Said] = []
    for record in records:
        try:
            batch = decode_mid(record.value)
        except CodecError:
            continue
        (mid,) = batch.mids
        if mid.instrument == instrument:
            found.append(Said(record, batch.header, mid))
    return found


def reaching(said: Iterable[Said], second: int) -> int | None:
    """Return the first offset by which two exchanges have come to a second; None where none is.

    As in the comparison one alone does not count: its clock may be wrong.
    """
    arrived: set[str] = set()
    for record, header, mid in said:
        if mid.second >= second:
            arrived.add(header.address.exchange)
        if len(arrived) > 1:
            return record.offset
    return None


def carrier(
    said: Iterable[Said], exchange: str, symbol: str, second: int, *, first: int
) -> Carrier | None:
    """Return the socket whose mid of a second was compared: the first that has a price that counts.

    `first` is the offset from which on mids are to have their raw records.
    """
    own = [
        each
        for each in said
        if each.header.address.exchange == exchange and each.mid.symbol == symbol
    ]
    spoke = [each for each in own if each.mid.second == second]
    if not spoke:
        return None
    chosen = min(spoke, key=lambda each: (counted(each.mid) is None, each.header.stream))
    header = chosen.header
    given = [
        each
        for each in own
        if each.record.offset >= first
        and each.header.stream == header.stream
        and each.header.raw_partition == header.raw_partition
    ] or [chosen]
    earliest = min(given, key=lambda each: each.header.raw_offset)
    return Carrier(
        *header.stream,
        partition=header.raw_partition,
        first=earliest.header.raw_offset,
        last=max(each.header.raw_offset for each in given),
        second=earliest.mid.second,
    )
