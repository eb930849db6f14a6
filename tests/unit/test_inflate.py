from __future__ import annotations

import asyncio
import gzip
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_aimlernie._transport.inflate import ainflated, inflated, inflater_for
from langchain_aimlernie.errors import InvalidResponseError


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    " GZIP ": gzip.compress,
    "deflate": zlib.compress,
}


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def unpack(pieces, encoding):
    return b"".join(inflated(iter(pieces), inflater_for(encoding)))


@pytest.mark.parametrize("encoding", PACKINGS)
@given(data=st.binary(max_size=2000), places=st.lists(st.integers(0, 3000), max_size=5))
def test_what_was_packed_comes_back_however_it_is_cut(encoding, data, places):
    assert unpack(cut(PACKINGS[encoding](data), places), encoding) == data


def test_the_async_one_gives_the_same():
    async def pieces():
        for piece in cut(gzip.compress(b"x" * 5000), [3, 9]):
            yield piece

    async def main():
        return b"".join([piece async for piece in ainflated(pieces(), inflater_for("gzip"))])

    assert asyncio.run(main()) == b"x" * 5000


def test_deflate_without_its_wrapper_is_understood():
    assert unpack([raw_deflate(b"hello" * 100)], "deflate") == b"hello" * 100


def test_several_members_are_one_body_and_padding_is_not():
    packed = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 40
    assert unpack([packed], "gzip") == b"one two"


def test_an_empty_body_is_no_cut_one():
    assert unpack([], "gzip") == b""


@pytest.mark.parametrize("packed", [b"{}", b"\x1f\x8bnonsense", b"\xff" * 50])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_not_packed_as_it_says_is_an_error(encoding, packed):
    with pytest.raises(InvalidResponseError, match=encoding):
        unpack([packed], encoding)


@pytest.mark.parametrize("left", [1, 8, 20])
def test_a_cut_body_is_an_error(left):
    with pytest.raises(InvalidResponseError, match="cut"):
        unpack([gzip.compress(b"hello" * 100)[:-left]], "gzip")


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress"])
def test_a_packing_that_was_not_asked_for_is_named(encoding):
    with pytest.raises(InvalidResponseError, match=encoding):
        inflater_for(encoding)


@pytest.mark.parametrize("encoding", ["", "identity", "x-none", "none, such"])
def test_what_nobody_knows_is_read_as_it_is(encoding):
    assert inflater_for(encoding) is None


def test_a_bomb_is_unpacked_in_small_pieces():
    bomb = gzip.compress(bytes(30 * 2**20), 9)
    sizes = [len(piece) for piece in inflated(iter([bomb]), inflater_for("gzip"))]
    assert max(sizes) <= 2**20
    assert sum(sizes) == 30 * 2**20
