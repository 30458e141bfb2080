"""What of the local Kafka needs no server: its ids, and the reading of its answer."""

import base64
import struct

from hypothesis import given
from hypothesis import strategies as st

from infra.local.kafka import _read_cluster, new_cluster_id


def test_new_cluster_ids_are_16_bytes_and_never_look_like_an_option() -> None:
    ids = {new_cluster_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert not any(text.startswith("-") for text in ids)
    assert all(len(base64.urlsafe_b64decode(text + "==")) == 16 for text in ids)


@given(st.binary(max_size=200))
def test_read_cluster_of_any_bytes_is_an_id_or_nothing(response: bytes) -> None:
    try:
        read = _read_cluster(response)
    except (struct.error, UnicodeDecodeError):
        read = None

    assert read is None or isinstance(read, str)
