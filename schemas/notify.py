"""Receipts and silences as records of their compacted topics.

A record without a value is a tombstone: what its key names is forgotten.
"""

from typing import Final

import msgspec

from core.notify.receipts import Outcome, Receipt
from core.notify.silences import Matchers, Once, Silence
from core.stability.alerts import Phase
from schemas.registry import CodecError, codec

_ENUMS: Final[dict[str, type[Phase | Outcome]]] = {"phase": Phase, "outcome": Outcome}


def encode_receipt(receipt: Receipt) -> bytes:
    """Return the value of one record on `receipts`."""
    fields = msgspec.structs.asdict(receipt)
    return codec("receipt").encode(fields | {name: fields[name].name.lower() for name in _ENUMS})


def decode_receipt(value: bytes | None) -> Receipt:
    """Return the receipt in the value of one record on `receipts`.

    Raises:
        CodecError: not such a value.
    """
    fields = codec("receipt").decode(value)
    try:
        known = {name: enum[fields[name].upper()] for name, enum in _ENUMS.items()}
    except KeyError as error:
        raise CodecError(f"receipt: unknown phase or outcome {error}") from error
    return Receipt(**fields | known)


def encode_silence(silence: Silence) -> bytes:
    """Return the value of one record on `silences`; weekly ones are for the settings only."""
    assert isinstance(silence.window, Once), "a weekly window is no silence"
    lists = {name: list(values) for name, values in _lists(silence.matchers).items()}
    window = {"starts": silence.window.starts, "ends": silence.window.ends}
    return codec("silence").encode(
        {"name": silence.name, "reason": silence.reason, **window, **lists}
    )


def decode_silence(value: bytes | None) -> Silence:
    """Return the silence in the value of one record on `silences`.

    Raises:
        CodecError: not such a value.
    """
    fields = codec("silence").decode(value)
    matchers = Matchers(**{name: tuple(fields[name]) for name in Matchers.__struct_fields__})
    window = Once(fields["starts"], fields["ends"])
    return Silence(fields["name"], matchers, window, fields["reason"])


def _lists(matchers: Matchers) -> dict[str, tuple[str, ...]]:
    return {name: getattr(matchers, name) for name in Matchers.__struct_fields__}
