"""Self-signed certificates, made with the `openssl` program."""

import itertools
import ssl
import subprocess
from typing import NamedTuple


class Certificate(NamedTuple):
    """A self-signed certificate.

    Attributes:
        server: The context of a server that presents it.
        client: The context of a client that trusts it.
        file: The path of the certificate, in PEM.
        key: The path of its private key, in PEM.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext
    file: str
    key: str


def certificate_factory(folder):
    """Return a function that makes a certificate for a host name or IP address, in `folder`."""
    numbers = itertools.count()

    def make(name):
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
        return Certificate(
            server, ssl.create_default_context(cafile=str(cert)), str(cert), str(key)
        )

    return make
