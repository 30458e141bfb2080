"""Request bodies: received whole, decompressed on the way, on disk above a size.

A compressed body may be several frames in a row, one per block of rows; a reader of only the first
would lose rows without an error. A body is whole before the engine sees it, so a client that goes
away in the middle leaves nothing half inserted. Nothing here knows what a body means.
"""

import zlib
from collections.abc import AsyncIterable, Callable
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Protocol, TypeAlias

import lz4.frame
from backports import zstd

PIECE_BYTES = 1 << 20
MEMORY_BYTES = 32 << 20

Spool: TypeAlias = "SpooledTemporaryFile[bytes]"


class BodyError(Exception):
    """A body is too large, cut short, or not what its Content-Encoding says."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Frame(Protocol):
    """Decompressor of one frame, as lz4 and zstd have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class _ZlibFrame:
    """zlib's decompressor with the interface of the others."""

    def __init__(self, window_bits: int) -> None:
        self._zlib = zlib.decompressobj(window_bits)
        self._more = False

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._more

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = PIECE_BYTES) -> bytes:
        piece = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        # A full piece may have left output inside zlib, with all input taken.
        self._more = bool(self._zlib.unconsumed_tail) or len(piece) == max_length
        return piece


_FRAMES: dict[str, Callable[[], _Frame]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
    "gzip": lambda: _ZlibFrame(31),
    "deflate": lambda: _ZlibFrame(15),
}
_FRAME_ERRORS = (RuntimeError, EOFError, zlib.error, zstd.ZstdError)

CANNOT_DECOMPRESS = 271
TOO_MANY_BYTES = 307
UNKNOWN_COMPRESSION_METHOD = 89


class Decompressor:
    """Any number of frames in a row, given in pieces of any size."""

    def __init__(self, encoding: str) -> None:
        """Take a Content-Encoding; empty and identity leave bytes alone.

        Raises:
            BodyError: it is not known.
        """
        self._new_frame = _FRAMES.get(encoding)
        if self._new_frame is None and encoding not in ("", "identity"):
            allowed = ", ".join(_FRAMES)
            raise BodyError(
                UNKNOWN_COMPRESSION_METHOD,
                f"Unknown Content-Encoding '{encoding[:40]}', it can be {allowed}",
            )
        self._encoding = encoding
        self._frame: _Frame | None = None

    def feed(self, data: bytes, write: Callable[[bytes], object]) -> None:
        """Write what the next piece of the body holds, at most PIECE_BYTES at a time.

        Raises:
            BodyError: it is no such frame.
        """
        if self._new_frame is None:
            write(data)
            return
        while data:
            frame = self._frame = self._frame or self._new_frame()
            try:
                write(frame.decompress(data, PIECE_BYTES))
                while not frame.eof and not frame.needs_input:
                    write(frame.decompress(b"", PIECE_BYTES))
            except _FRAME_ERRORS as error:
                raise BodyError(
                    CANNOT_DECOMPRESS, f"Cannot decompress the {self._encoding} body: {error}"
                ) from error
            data = b""
            if frame.eof:
                data, self._frame = frame.unused_data or b"", None

    def finish(self) -> None:
        """Note the end of the body.

        Raises:
            BodyError: the last frame is not complete.
        """
        if self._frame is not None:
            raise BodyError(
                CANNOT_DECOMPRESS, f"Cannot decompress the {self._encoding} body: it is cut short"
            )


def new_spool(folder: Path) -> Spool:
    """An empty file that is in memory up to MEMORY_BYTES and without a name above."""
    return SpooledTemporaryFile(MEMORY_BYTES, dir=str(folder))


async def receive(
    pieces: AsyncIterable[bytes], encoding: str, spool: Spool, bytes_max: int
) -> None:
    """Fill a spool with a whole body, decompressed, and rewind it.

    Raises:
        BodyError: it is larger than bytes_max, or cannot be decompressed.
    """
    size = 0

    def write(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        if size > bytes_max:
            raise BodyError(TOO_MANY_BYTES, f"The body is larger than {bytes_max} bytes")
        spool.write(piece)

    decompressor = Decompressor(encoding)
    async for piece in pieces:
        decompressor.feed(piece, write)
    decompressor.finish()
    spool.seek(0)
