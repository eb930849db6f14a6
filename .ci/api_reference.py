"""Build the API reference from the docstrings: `python .ci/api_reference.py FOLDER`."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pdoc

if TYPE_CHECKING:
    from types import ModuleType

PACKAGE = "langchain_aimlernie"
MODULES = [
    PACKAGE,
    *(
        f"{PACKAGE}.{name}"
        for name in (
            "account",
            "batch",
            "batch.ray",
            "errors",
            "middleware",
            "models",
            "profiles",
            "spend",
            "testing",
            "tracing",
        )
    ),
]


def main(folder: Path) -> None:
    """Write a page for each public module."""
    for name in MODULES:
        module = import_module(name)
        for public in public_names(module):  # some are imported at their first use
            vars(module)[public] = getattr(module, public)
    warnings.filterwarnings("ignore", module="pdoc")  # on annotations of generated methods
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc(*MODULES, output_directory=folder)
    for name in MODULES:
        page = folder.joinpath(*name.split(".")).with_suffix(".html").read_text(encoding="utf-8")
        for public in public_names(import_module(name)):
            if f'id="{public}"' not in page and f"{name}.{public}" not in MODULES:
                sys.exit(f"{name}.{public} is not on its page")


def public_names(module: ModuleType) -> list[str]:
    """Return the names that a module exports."""
    return getattr(module, "__all__", [])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
