"""The error of a batch that cannot run."""

from __future__ import annotations


class BatchError(ValueError):
    """The run is refused: invalid or changed input, a duplicate, an output that is in use."""
