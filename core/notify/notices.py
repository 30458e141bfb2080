"""A notice: one alert as it stands on its topic, with all that is known of where it came from."""

import msgspec

from core.events import AlertBatch, Header
from core.stability.alerts import Alert

Stream = tuple[str, ...]
"""Kind, exchange, shard, line, channel and symbol: what opens one incident after another."""


class Notice(msgspec.Struct, frozen=True):
    """An alert, the header of its record, and its place: partition and offset on `alerts`.

    `value` is the record's value, for a dead letter or for whoever must tell it again.
    """

    header: Header
    alert: Alert
    partition: int
    offset: int
    value: bytes

    @property
    def stream(self) -> Stream:
        """What opens one incident after another."""
        address, alert = self.header.address, self.alert
        place = (address.exchange, address.shard, address.line, alert.channel, alert.symbol)
        return alert.kind.name, *place


def notice(batch: AlertBatch, partition: int, offset: int, value: bytes) -> Notice:
    """Return the notice of a decoded record."""
    (alert,) = batch.alerts
    return Notice(batch.header, alert, partition, offset, value)
