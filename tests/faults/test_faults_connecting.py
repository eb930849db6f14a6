"""The way to the server: names, ports, TLS, proxies; what fails there names its place."""

import asyncio
import base64
import logging
import ssl
import sys
from functools import partial
from itertools import repeat

import httpx
import httpx2
import pytest

from langchain_aimlernie.models import alist_models, list_models
from tests.support import response_bytes as wire
from tests.support.byte_server import (
    ByteServer,
    Close,
    Hear,
    Hold,
    Pause,
    Reset,
    Socks,
    Tunnel,
    crowded_port,
    refusing_port,
)
from tests.support.fault_table import (
    ALL_MODES,
    JSON_MODES,
    SOON,
    STREAM_MODES,
    TEXT,
    Raises,
    Returns,
    at_once,
    check_error,
    make_model,
    outcome_of,
    own_client_outcome,
    play,
    texts,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*not encrypted.*:UserWarning")
UNREACHED = "APIConnectionError"
TWO_MODES = ("invoke", "astream")


def one_call(base_url, mode, **settings):
    """An outcome without the call after it, for servers that never get well."""
    outcome = outcome_of(make_model(base_url, **settings), mode)
    check_error(outcome.error)
    return outcome


def fails(base_url, expect, modes=ALL_MODES, **settings):
    """Make a call in each mode, check what it comes to, and return the phases of the errors."""
    outcomes = [one_call(base_url, mode, **settings) for mode in modes]
    for outcome in outcomes:
        expect.check(outcome)
    return {outcome.error.phase for outcome in outcomes}


@pytest.fixture(params=["ours", httpx, httpx2], ids=["ours", "httpx", "httpx2"])
def tls_outcome(request, monkeypatch):
    """Makes a call over a connection of ours, or of the user's client, that trusts a certificate."""

    def call(base_url, mode, certificate, **settings):
        if request.param != "ours":
            return own_client_outcome(base_url, mode, certificate.client, request.param, **settings)
        monkeypatch.setenv("SSL_CERT_FILE", certificate.file)
        return one_call(base_url, mode, **settings)

    return call


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_that_no_server_has_is_named(scheme):
    says = ("no-such-host.invalid", "cannot be resolved")
    fails(f"{scheme}://no-such-host.invalid/v1", Raises(UNREACHED, True, says))


@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".invalid", "xn--a", "-.invalid"], ids=ascii)
def test_a_name_that_cannot_be_is_a_typed_error(host):
    try:
        model = make_model(f"https://{host}/v1")
    except ValueError as refused:
        assert "base_url" in str(refused)  # noqa: PT017 - refused when it was set: good, too
    else:
        fails(str(model.base_url), Raises((UNREACHED, "BadRequestError")), TWO_MODES)


def test_a_refused_port_is_named():
    with refusing_port() as port:
        says = (f"Cannot connect to 127.0.0.1:{port}: Connection refused. Check base_url",)
        assert fails(f"http://127.0.0.1:{port}/v1", Raises(UNREACHED, True, says)) == {"connect"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse when the queue is full")
def test_a_full_queue_is_a_timeout_of_connecting():
    expect = Raises("APITimeoutError", True, ("127.0.0.1", "0.2"))
    with crowded_port() as port:
        fails(f"http://127.0.0.1:{port}/v1", expect, timeout=0.2)


def test_a_connection_lost_on_accepting_does_not_stay(mode):
    with ByteServer(greetings=[Reset(0.0)]) as server:
        Raises(UNREACHED, retryable=True).check(play(server, mode, requests=0))


HALF_RECORD = b"\x16\x03\x03\x00\x7a\x02"
GREETINGS = {
    "silence": (Hold(), "APITimeoutError"),
    "a reset": (Reset(0.0), UNREACHED),
    "an end": (Close(), UNREACHED),
    "words that are no TLS": (
        *((b"220 smtp.example ESMTP\r\n", Hold()), UNREACHED),
        *(("instead of https",), ("SSL_CERT_FILE",)),
    ),
    "an HTTP error": ((b"HTTP/1.1 400 Bad Request\r\n\r\n", Close()), UNREACHED),
    "half a TLS record": ((Hear(), HALF_RECORD, Hold()), "APITimeoutError"),
    "half a TLS record and an end": ((HALF_RECORD, Pause(0.05), Close()), UNREACHED),
    "an alert": ((b"\x15\x03\x03\x00\x02\x02\x28", Close()), UNREACHED),
}


def check_greeting(mode, script, error, says=(), hides=()):
    timeout = SOON if error == "APITimeoutError" else 30.0
    with ByteServer(greetings=[script]) as server:
        expect = Raises(error, says=("127.0.0.1", *says), hides=hides)
        phases = fails(server.base_url.replace("http:", "https:"), expect, [mode], timeout=timeout)
        assert phases <= {"connect", "tls"}, "nothing was sent"
        assert server.settle()


# CPython 3.11 leaves a socket that was reset before the handshake to the garbage collector, which
# says so: ssl.SSLSocket._create raises without closing it.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
def test_a_port_without_tls_greets_https_in_odd_ways(subtests):
    checks = {
        f"{name} [{mode}]": partial(check_greeting, mode, *row)
        for name, row in GREETINGS.items()
        for mode in ALL_MODES
    }
    at_once(subtests, checks)


def test_a_certificate_that_nobody_vouches_for_is_not_tried_again(trusted):
    expect = Raises(UNREACHED, False, ("certificate", "SSL_CERT_FILE"), ("instead of https",))
    with ByteServer(tls=trusted.server) as server:
        fails(server.base_url, expect, max_retries=2)
        assert server.settle()
        assert not server.requests


@pytest.mark.parametrize("wrong", ["host", "protocol"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_server_of_another_host_or_an_old_protocol_is_not_reached(
    certificate, tls_outcome, wrong
):
    if wrong == "host":
        other, retries = certificate("elsewhere.example"), 2
        expect = Raises(UNREACHED, False, ("certificate",))
    else:
        other, retries, expect = certificate("127.0.0.1"), 0, Raises(UNREACHED)
        other.server.minimum_version = ssl.TLSVersion.TLSv1
        other.server.maximum_version = ssl.TLSVersion.TLSv1_1
    with ByteServer(tls=other.server) as server:
        for mode in TWO_MODES:
            expect.check(tls_outcome(server.base_url, mode, other, max_retries=retries))
        assert not server.requests


EOF_HEAD = wire.head(200, {"Connection": "close"}, wire.SSE_TYPE)
CUT = Raises("StreamInterruptedError", partial="Hel")
HALF = EOF_HEAD + wire.HEL + wire.LO[:20]
TLS_CASES = {
    "a good response": (wire.GOOD_RESPONSE, Returns(), JSON_MODES),
    "a good stream": (wire.GOOD_STREAM, Returns(), STREAM_MODES),
    "an end without close_notify": (
        (EOF_HEAD + b"".join(wire.EVENTS), Close(rude=True)),
        Returns(),
        STREAM_MODES,
    ),
    "a cut with close_notify": ((HALF, Pause(0.05), Close()), CUT, STREAM_MODES),
    "a cut without close_notify": ((HALF, Pause(0.05), Close(rude=True)), CUT, STREAM_MODES),
    "a cut between events": (
        (EOF_HEAD + wire.HEL, Pause(0.05), Close(rude=True)),
        CUT,
        STREAM_MODES,
    ),
    "a reset": ((EOF_HEAD + wire.HEL, Reset()), CUT, STREAM_MODES),
    "silence": (Hold(), Raises("APITimeoutError"), ALL_MODES),
}


def test_faults_over_tls(subtests, trusted, tls_outcome):
    def check(mode, name, script, expect):
        timeout = SOON if name == "silence" else 30.0
        with ByteServer(script, tls=trusted.server) as server:
            expect.check(tls_outcome(server.base_url, mode, trusted, timeout=timeout))
            assert server.settle()

    checks = {
        f"{name} [{mode}]": partial(check, mode, name, script, expect)
        for name, (script, expect, modes) in TLS_CASES.items()
        for mode in modes
    }
    at_once(subtests, checks)


def url_of(proxy, scheme="http"):
    return f"{scheme}://user:hunter2@127.0.0.1:{proxy.port}"


@pytest.fixture(params=["http", "https", "socks5"])
def tunnels(request, trusted, monkeypatch):
    """The proxy of the environment, which opens tunnels."""
    tls = trusted.server if request.param == "https" else None
    greetings = repeat(Socks()) if request.param == "socks5" else ()
    with ByteServer(rest=Tunnel(), greetings=greetings, tls=tls) as proxy:
        monkeypatch.setenv("SSL_CERT_FILE", trusted.file)
        monkeypatch.setenv("HTTPS_PROXY", url_of(proxy, request.param))
        yield proxy


BASIC = "Basic " + base64.b64encode(b"user:hunter2").decode()
LOGIN = b"\x01\x04user\x07hunter2"


def test_a_server_with_tls_is_reached_through_one_tunnel(tunnels, trusted, mode):
    with ByteServer(tls=trusted.server) as server:
        assert texts(make_model(server.base_url), mode, 3) == [TEXT] * 3
        assert server.settle()
        assert [request.connection for request in server.requests] == [1] * 3
    assert tunnels.settle()
    (tunnel,) = tunnels.requests
    assert tunnel.target == f"127.0.0.1:{server.port}"
    assert tunnel.headers.get("proxy-authorization") == BASIC or tunnel.body == LOGIN
    assert wire.KEY not in str(tunnel)


def test_a_server_that_a_tunnel_does_not_reach_is_an_error(tunnels):
    with refusing_port() as port:
        fails(f"https://127.0.0.1:{port}/v1", Raises(UNREACHED, says=("127.0.0.1",)), TWO_MODES)
    assert tunnels.settle()


def test_socks_reaches_a_server_without_tls(caplog, monkeypatch, mode):
    caplog.set_level(logging.DEBUG)
    with ByteServer(greetings=repeat(Socks())) as proxy, ByteServer() as server:
        monkeypatch.setenv("ALL_PROXY", url_of(proxy, "socks5"))
        assert texts(make_model(server.base_url), mode, 2) == [TEXT] * 2
        assert server.settle()
        (tunnel,) = proxy.requests
        assert (tunnel.target, tunnel.body) == (f"127.0.0.1:{server.port}", LOGIN)
    assert "setup_socks5_connection" in caplog.text
    assert "hunter2" not in caplog.text


def test_socks_without_its_package_says_which_one_is_needed(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "socksio", None)
    expect = Raises(UNREACHED, says=("ALL_PROXY", "socks5://", "pip install socksio"))
    assert fails("https://behind.invalid/v1", expect) == {"proxy"}


def test_a_proxy_that_nobody_vouches_for_is_not_tried_again(certificate, monkeypatch):
    expect = Raises(UNREACHED, False, ("certificate",), ("hunter2",))
    with ByteServer(rest=Tunnel(), tls=certificate("127.0.0.1").server) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", url_of(proxy, "https"))
        fails("https://behind.invalid/v1", expect, TWO_MODES, max_retries=2)
        assert not proxy.requests


NO_ADDRESS = ("must be the address of a proxy",)
FTP = "ftp://user:hunter2@127.0.0.1:1"
BAD_PROXIES = {
    "socks://user:hunter2@127.0.0.1:7891/": ("socks://", "socks5://"),
    FTP: ("ftp://", "http://"),
    "http://user:hunter2@127.0.0.1:nope": NO_ADDRESS,
    "socks9://user:hunter2@127.0.0.1": ("socks9://", "http://"),
    "ftp://user:hunter2@my_proxy.xn--p1ai:1": ("ftp://", "http://"),
    "user:hunter2@a b": NO_ADDRESS,
}


@pytest.mark.parametrize(
    ("proxy", "variable"),
    [
        *((proxy, "ALL_PROXY") for proxy in BAD_PROXIES),
        *(
            (FTP, variable)
            for variable in ("all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY")
        ),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(monkeypatch, proxy, variable):
    monkeypatch.setenv(variable, proxy)
    says = (variable, *BAD_PROXIES[proxy])
    expect = Raises(UNREACHED, False, says, ("hunter2",), attributes={"__cause__": None})
    scheme = "http" if variable == "HTTP_PROXY" else "https"
    assert fails(f"{scheme}://behind.invalid/v1", expect, TWO_MODES, max_retries=2) == {"proxy"}


def test_a_proxy_that_refuses_is_named_without_its_password(monkeypatch):
    with refusing_port() as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{port}")
        fails("https://refused.invalid/v1", Raises(UNREACHED, says=("proxy",), hides=("hunter2",)))


DENIED = ("BadRequestError", UNREACHED, "AimlErnieError")
DENIALS = {
    "403": ("https", UNREACHED, False),
    "407": ("https", UNREACHED, False),
    "502": ("https", UNREACHED, True),
    "407 without a tunnel": ("http", DENIED, False),
    "silence": ("https", "APITimeoutError", True),
}


@pytest.mark.parametrize("name", DENIALS)
def test_a_proxy_that_denies_or_is_silent_is_a_typed_error(monkeypatch, name):
    scheme, error, retryable = DENIALS[name]
    status = name[:3]
    script = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    settings = {"max_retries": 0 if retryable else 2}
    if name == "silence":
        script, status, settings = Hold(), f"{SOON}", {"timeout": SOON}
    with ByteServer(rest=script) as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", url_of(proxy))
        expect = Raises(error, retryable, (status,), ("hunter2",))
        fails(f"{scheme}://denied.invalid/v1", expect, **settings)
        assert len(proxy.requests) == len(ALL_MODES), "asked once"
        if scheme == "https":
            assert {request.method for request in proxy.requests} == {"CONNECT"}
            assert not any("authorization" in request.headers for request in proxy.requests)
            assert wire.KEY not in str(proxy.requests)
        assert proxy.settle()


ENDPOINTS = {
    "": ("/v1/chat/completions", "/v1/models"),
    "/proxy/aiml/v1/": ("/proxy/aiml/v1/chat/completions", "/proxy/aiml/v1/models"),
    "/v1/chat/completions/ ": ("/v1/chat/completions", "/v1/models"),
    "/chat/completions/": ("/chat/completions", "/models"),
    "//chat/completions": ("//chat/completions", "//models"),
    "/api/v3/chat/completions": ("/api/v3/chat/completions", "/api/v3/models"),
}


@pytest.mark.parametrize("path", ENDPOINTS)
def test_each_form_of_base_url_reaches_one_address(path):
    completions, models = ENDPOINTS[path]
    elsewhere = "http://127.0.0.1:9"
    with ByteServer() as server:
        base_url = f"http://127.0.0.1:{server.port}{path}"
        for mode in TWO_MODES:
            Returns().check(one_call(base_url, mode))
            # As a setting of a call, and of a copy, the address is read a second time.
            model = make_model(elsewhere).model_copy(update={"base_url": base_url})
            Returns().check(outcome_of(model, mode, max_retries=0))
            Returns().check(outcome_of(make_model(elsewhere), mode, base_url=base_url))
        assert {request.target for request in server.requests} == {completions}
        server.requests.clear()
        server.play(*[wire.response({"data": []})] * 2)
        nothing = {"base_url": base_url, "include": (), "endpoint": None}
        assert list_models(**nothing) == asyncio.run(alist_models(**nothing)) == []
        assert {request.target for request in server.requests} == {models}


class OddTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """What a user may put into a client of their own, with a fault in it."""

    def handle_request(self, request):
        raise KeyError("odd")

    async def handle_async_request(self, request):
        raise KeyError("odd")


def test_the_cause_of_an_unexpected_error_is_kept(mode):
    clients = {
        "http_client": httpx.Client(transport=OddTransport()),
        "http_async_client": httpx.AsyncClient(transport=OddTransport()),
    }
    outcome = outcome_of(make_model("http://127.0.0.1:9", **clients), mode)
    Raises(UNREACHED, retryable=False, says=("KeyError", "odd")).check(outcome)
    assert type(outcome.error.__cause__) is KeyError
