"""Certificates of their own making, with the openssl of the machine."""

from __future__ import annotations

import itertools
import ssl
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Paper(NamedTuple):
    """A certificate: who shows it, who trusts it, its file, and that of its key."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    file: str
    key: str


def paper_mill(folder: Path) -> Callable[[str], Paper]:
    """What makes a certificate for a host's name or number."""
    numbers = itertools.count()

    def make(name: str) -> Paper:
        number = next(numbers)
        key, cert = folder / f"{number}.key", folder / f"{number}.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"),
                *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={name}"),
                *("-addext", f"subjectAltName={'IP' if name[0].isdigit() else 'DNS'}:{name}"),
                *("-keyout", str(key), "-out", str(cert)),
            ],
            check=True,
            capture_output=True,
        )
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(cert, key)
        return Paper(server, ssl.create_default_context(cafile=str(cert)), str(cert), str(key))

    return make
