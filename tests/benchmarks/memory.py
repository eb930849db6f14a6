"""How much a process grows over a long stream: `memory.py CONTENDER URL CHUNKS`.

Prints the bytes of resident memory that were gained between the first tenth of the stream and its
last chunk. It is the stream of `_stream`: in `stream` core itself keeps every chunk until the end.
"""

from __future__ import annotations

import os
import sys
from itertools import islice
from pathlib import Path

from contenders import contender
from workloads import QUESTION


def resident_bytes() -> int:
    """Resident memory of this process; Linux only."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def growth(name: str, url: str, chunks: int) -> int:
    """Bytes gained over the last nine tenths of a stream of so many chunks."""
    received = contender(name).make(url, chunks)._stream(QUESTION)
    tenth = sum(1 for _ in islice(received, chunks // 10))
    before = resident_bytes()
    rest = sum(1 for _ in islice(received, chunks - tenth))
    if tenth + rest < chunks:
        raise RuntimeError(f"{tenth + rest:,} of {chunks:,} chunks arrived")
    return resident_bytes() - before


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    name, url, chunks = sys.argv[1:]
    sys.stdout.write(f"{growth(name, url, int(chunks))}\n")
