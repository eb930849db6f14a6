"""Generate the sync transport from the async one: `python .ci/unasync.py [--check]`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HTTP = Path(__file__).parents[1] / "langchain_aimlernie" / "_http"
HEADER = "# Generated from _async/{name} by .ci/unasync.py; do not edit.\n"
SUBSTITUTIONS = (
    (r"\bAwaitable\[(None|R|bytes|AsyncAttempt)\]", r"\1"),
    (r" +(AsyncIterable|AsyncIterator|Awaitable),\n", ""),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bimport asyncio\n", ""),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\bAnyIOBackend\b", "SyncBackend"),
    (r".*import anext_unhooked\n", ""),
    (r"\banext_unhooked\b", "next"),
    (r"\b(_?)Async([A-Z])", r"\1\2"),
    (r"\b(_?)async_([a-z])", r"\1\2"),
    (r"\b_async\b", "_sync"),
    (r"\b__a(iter|next)__\b", r"__\1__"),
    (r"(?<!\.)\ba(iter|next)\b", r"\1"),
    (r"\b_anext\b", "_next"),
    (r"\ba(iter_bytes|close)\b", r"\1"),
    (r"\bhandle_async_request\b", "handle_request"),
    (r"The async transport, from which the sync one is generated:", "The sync transport:"),
)


def to_sync(source: str) -> str:
    """Return the sync source for an async one."""
    for pattern, replacement in SUBSTITUTIONS:
        source = re.sub(pattern, replacement, source)
    return source


def main() -> int:
    """Write the sync files, or check that they are up to date."""
    outdated = []
    for path in sorted((HTTP / "_async").glob("*.py")):
        target = HTTP / "_sync" / path.name
        source = HEADER.format(name=path.name) + to_sync(path.read_text())
        if "--check" not in sys.argv:
            target.write_text(source)
        elif not target.exists() or target.read_text() != source:
            outdated.append(str(target))
    if outdated:
        print("Run python .ci/unasync.py:", *outdated)
    return len(outdated)


if __name__ == "__main__":
    sys.exit(main())
