"""Splits of bytes and text, for tests that any split gives the same result."""

import itertools


def split_at(whole, cuts):
    """Return the parts of `whole` between `cuts`, which may be beyond its end."""
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(edges)]


def single(whole):
    """Return the parts of length 1."""
    return split_at(whole, range(1, len(whole)))
