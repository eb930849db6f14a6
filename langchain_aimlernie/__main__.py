"""The command `aimlernie`, also `python -m langchain_aimlernie`."""

from __future__ import annotations

import sys

from langchain_aimlernie._cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
