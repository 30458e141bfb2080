"""Bodies of several frames in a row, in pieces of any size, bounded and complete."""

import gzip
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import lz4.frame
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from infra.local.clickhouse.body import (
    MEMORY_BYTES,
    PIECE_BYTES,
    BodyError,
    Decompressor,
    new_spool,
    receive,
)

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "": bytes,
}
ENCODINGS = sorted(COMPRESS)


async def stream(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def decompress(encoding: str, pieces: Sequence[bytes]) -> bytes:
    written = bytearray()
    decompressor = Decompressor(encoding)
    for piece in pieces:
        decompressor.feed(piece, written.extend)
    decompressor.finish()
    return bytes(written)


@given(st.sampled_from(ENCODINGS), st.lists(st.binary(max_size=3000)), st.integers(1, 500))
def test_decompressor_of_frames_in_a_row_gives_all_of_them(
    encoding: str, blocks: list[bytes], size: int
) -> None:
    body = b"".join(COMPRESS[encoding](block) for block in blocks)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]

    assert b"".join(blocks) == decompress(encoding, pieces)


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate"])
def test_decompressor_of_a_small_body_with_a_large_content_writes_bounded_pieces(
    encoding: str,
) -> None:
    content = bytes(64 << 20)
    sizes: list[int] = []

    decompressor = Decompressor(encoding)
    decompressor.feed(COMPRESS[encoding](content), lambda piece: sizes.append(len(piece)))
    decompressor.finish()

    assert len(content) == sum(sizes)
    assert max(sizes) <= PIECE_BYTES


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate"])
@given(garbage=st.binary(min_size=1, max_size=200))
def test_decompressor_of_garbage_after_a_frame_is_an_error(encoding: str, garbage: bytes) -> None:
    body = COMPRESS[encoding](b"block") + b"\x00" + garbage

    with pytest.raises(BodyError) as raised:
        decompress(encoding, [body])

    assert raised.value.code == 271


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate"])
def test_decompressor_of_a_body_cut_short_is_an_error(encoding: str) -> None:
    body = COMPRESS[encoding](b"first") + COMPRESS[encoding](bytes(range(256)) * 40)

    with pytest.raises(BodyError, match="cut short"):
        decompress(encoding, [body[:-9]])


def test_decompressor_of_an_unknown_encoding_names_those_it_has() -> None:
    with pytest.raises(BodyError, match="lz4, zstd, gzip, deflate"):
        Decompressor("br")


async def test_receive_above_the_limit_is_an_error(tmp_path: Path) -> None:
    body = lz4.frame.compress(bytes(2000))

    with new_spool(tmp_path) as spool, pytest.raises(BodyError, match="larger than 1999 bytes"):
        await receive(stream(body, 10), "lz4", spool, 1999)


async def test_receive_keeps_what_the_spool_held_and_rewinds(tmp_path: Path) -> None:
    with new_spool(tmp_path) as spool:
        spool.write(b"INSERT\n")
        await receive(stream(b"data", 3), "", spool, 100)

        assert spool.read() == b"INSERT\ndata"


async def test_receive_of_a_large_body_goes_to_disk(tmp_path: Path) -> None:
    body = bytes(MEMORY_BYTES + 1)

    with new_spool(tmp_path) as spool:
        await receive(stream(body, PIECE_BYTES), "", spool, len(body))

        assert spool.fileno() > 0
        assert len(body) == len(spool.read())
