"""Unpacking an answer piece by piece, in bounded memory."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from langchain_aimlernie.errors import InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ENCODINGS = "gzip, deflate"
"""What we ask for; the packings that Python unpacks everywhere."""

_PIECE = 1024 * 1024
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
_FOREIGN = frozenset({"br", "zstd", "compress", "x-compress"})


class Inflater:
    """Unpacks gzip and deflate (RFC 9110, 8.4.1).

    Args:
        encoding: The answer's `Content-Encoding`.

    Raises:
        InvalidResponseError: It is a packing that we did not ask for.
    """

    def __init__(self, encoding: str) -> None:
        if encoding in _FOREIGN:
            raise InvalidResponseError(
                f"The server packed its answer as {encoding!r}, which was not asked for."
            )
        self._encoding = encoding
        self._unpacker = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give what `data` unpacks to, at most 1 MiB at a time.

        Raises:
            InvalidResponseError: It is not packed as the server said.
        """
        while data:
            piece = self._unpack(data)
            unpacker = self._unpacker
            data = unpacker.unconsumed_tail
            if unpacker.eof and unpacker.unused_data.startswith(_GZIP_MAGIC):
                # gzip may have several members (RFC 1952, 2.2); other bytes behind it are padding.
                data = unpacker.unused_data
                self._unpacker = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
            if piece:
                yield piece

    def close(self) -> bytes:
        """Give what was left.

        Raises:
            InvalidResponseError: The packed data has not ended.
        """
        rest = self._unpacker.flush()
        if self._begun and not self._unpacker.eof:
            raise InvalidResponseError(f"The server's answer, packed as {self._encoding}, was cut.")
        return rest

    def _unpack(self, data: bytes) -> bytes:
        try:
            return self._first(data) if not self._begun else self._unpacker.decompress(data, _PIECE)
        except zlib.error as error:
            raise InvalidResponseError(
                f"The server's answer is not packed as {self._encoding}, as it says: {error}."
            ) from None
        finally:
            self._begun = True

    def _first(self, data: bytes) -> bytes:
        try:
            return self._unpacker.decompress(data, _PIECE)
        except zlib.error:
            if self._encoding != "deflate":
                raise
        # Some servers leave out the zlib wrapper.
        self._unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        return self._unpacker.decompress(data, _PIECE)


def inflater_for(encoding: str) -> Inflater | None:
    """Give what unpacks an answer; `None` if it is not packed, or says something nobody knows."""
    encoding = encoding.strip().lower()
    known = encoding in _FOREIGN or encoding in ("gzip", "x-gzip", "deflate")
    return Inflater(encoding) if known else None


def inflated(pieces: Iterator[bytes], inflater: Inflater) -> Iterator[bytes]:
    """Unpack the pieces of a body."""
    for data in pieces:
        for piece in inflater.feed(data):  # noqa: UP028  the async twin below cannot
            yield piece
    yield inflater.close()


async def ainflated(pieces: AsyncIterator[bytes], inflater: Inflater) -> AsyncIterator[bytes]:
    """Unpack the pieces of a body."""
    async for data in pieces:
        for piece in inflater.feed(data):
            yield piece
    yield inflater.close()
