"""How much a process grows over a long stream: `memory.py CONTENDER URL CHUNKS METHOD`.

Prints the bytes of resident memory that were gained between the first tenth of the stream and its
last chunk. `stream` is what users call, and there core itself keeps every chunk until the end;
`_stream` is the part of the package that is measured.
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


def growth(name: str, url: str, chunks: int, method: str) -> int:
    """Bytes gained over the last nine tenths of a stream of so many chunks."""
    received = getattr(contender(name).make(url, chunks), method)(QUESTION)
    tenth = sum(1 for _ in islice(received, chunks // 10))
    before = resident_bytes()
    rest = sum(1 for _ in islice(received, chunks - tenth))
    if tenth + rest < chunks:
        raise RuntimeError(f"{tenth + rest:,} of {chunks:,} chunks arrived")
    return resident_bytes() - before


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    name, url, chunks, method = sys.argv[1:]
    sys.stdout.write(f"{growth(name, url, int(chunks), method)}\n")
