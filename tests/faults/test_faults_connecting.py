"""The way to the server: names, ports, TLS, proxies; what fails there names its place."""

from __future__ import annotations

import asyncio
import ssl
import sys

import httpx
import httpx2
import pytest

from langchain_aimlernie.models import alist_models, list_models
from tests.support.byte_server import (
    ByteServer,
    Close,
    Hear,
    Hold,
    Pause,
    Reset,
    crowded_port,
    refusing_port,
)
from tests.support.fault_outcomes import (
    ALL_MODES,
    JSON_MODES,
    STREAM_MODES,
    Raises,
    Returns,
    check_error,
    make_model,
    outcome_of,
    own_client_outcome,
    play,
)
from tests.support.response_bytes import (
    EVENTS,
    GOOD_RESPONSE,
    GOOD_STREAM,
    HEL,
    KEY,
    LO,
    SSE_TYPE,
    head,
    response,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*not encrypted.*:UserWarning")
UNREACHED = "APIConnectionError"
PROXY_WORDS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in PROXY_WORDS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(params=["ours", httpx, httpx2], ids=["ours", "httpx", "httpx2"])
def tls_outcome(request, monkeypatch):
    """Makes a call over a connection of ours, or of the user's client, that trusts a certificate."""

    def call(base_url, mode, certificate, **settings):
        if request.param != "ours":
            return own_client_outcome(base_url, mode, certificate.client, request.param, **settings)
        monkeypatch.setenv("SSL_CERT_FILE", certificate.file)
        return one_call(base_url, mode, **settings)

    return call


def one_call(base_url, mode, **settings):
    """An outcome without the call after it, for servers that never get well."""
    outcome = outcome_of(make_model(base_url, **settings), mode)
    check_error(outcome.error)
    return outcome


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_that_no_server_has_is_named(mode, scheme):
    outcome = one_call(f"{scheme}://no-such-host.invalid/v1", mode)
    says = ("no-such-host.invalid", "cannot be resolved")
    Raises(UNREACHED, retryable=True, says=says).check(outcome)


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".invalid", "xn--a", "-.invalid"], ids=ascii)
def test_a_name_that_cannot_be_is_a_typed_error(mode, host):
    try:
        outcome = one_call(f"https://{host}/v1", mode)
    except ValueError as refused:
        assert "base_url" in str(refused)  # noqa: PT017 - refused when it was set: good, too
    else:
        Raises((UNREACHED, "BadRequestError")).check(outcome)


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_refused_port_is_named(mode):
    with refusing_port() as port:
        outcome = one_call(f"http://127.0.0.1:{port}/v1", mode)
    Raises(UNREACHED, retryable=True, says=("127.0.0.1", str(port))).check(outcome)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse when the queue is full")
@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_full_queue_is_a_timeout_of_connecting(mode):
    with crowded_port() as port:
        outcome = one_call(f"http://127.0.0.1:{port}/v1", mode, timeout=0.4)
    Raises("APITimeoutError", retryable=True, says=("127.0.0.1", "0.4")).check(outcome)


GREETINGS = {
    "silence": ((Hold(),), "APITimeoutError"),
    "a reset": ((Reset(0.0),), UNREACHED),
    "an end": ((Close(),), UNREACHED),
    "words that are no TLS": ((b"220 smtp.example ESMTP\r\n", Hold()), (UNREACHED,)),
    "an HTTP error": ((b"HTTP/1.1 400 Bad Request\r\n\r\n", Close()), UNREACHED),
    "half a TLS record": ((Hear(), b"\x16\x03\x03\x00\x7a\x02", Hold()), "APITimeoutError"),
    "half a TLS record and an end": (
        (b"\x16\x03\x03\x00\x7a\x02", Pause(0.05), Close()),
        UNREACHED,
    ),
    "an alert": ((b"\x15\x03\x03\x00\x02\x02\x28", Close()), UNREACHED),
}


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("greeting", GREETINGS)
def test_a_port_without_tls_answers_https_in_odd_ways(greeting, mode):
    script, error = GREETINGS[greeting]
    with ByteServer(greetings=[script]) as endpoint:
        base_url = endpoint.base_url.replace("http:", "https:")
        outcome = one_call(base_url, mode, timeout=0.5)
        Raises(error, says=("127.0.0.1",)).check(outcome)
        if greeting == "words that are no TLS":
            Raises(error, says=("begin with https",), hides=("SSL_CERT_FILE",)).check(outcome)
        assert outcome.error.phase in ("connect", "tls"), "nothing was sent"
        assert endpoint.settle()


@pytest.mark.parametrize("mode", ALL_MODES)
def test_http_to_a_tls_port_is_a_connection_error(trusted, mode):
    with ByteServer(tls=trusted.server) as endpoint:
        outcome = one_call(endpoint.base_url.replace("https:", "http:"), mode)
        Raises((UNREACHED, "InvalidResponseError", "BadRequestError")).check(outcome)
        assert endpoint.settle()


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_certificate_that_nobody_vouches_for_is_not_tried_again(trusted, mode):
    with ByteServer(tls=trusted.server) as endpoint:
        outcome = one_call(endpoint.base_url, mode, max_retries=2)
        says = ("certificate", "SSL_CERT_FILE")
        Raises(UNREACHED, retryable=False, says=says, hides=("begin with https",)).check(outcome)
        assert endpoint.settle()
        assert not endpoint.requests


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_certificate_of_another_host_is_not_tried_again(certificate, tls_outcome, mode):
    other = certificate("elsewhere.example")
    with ByteServer(tls=other.server) as endpoint:
        outcome = tls_outcome(endpoint.base_url, mode, other, max_retries=2)
        Raises(UNREACHED, retryable=False, says=("certificate",)).check(outcome)
        assert not endpoint.requests


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_old_protocol_is_a_connection_error(certificate, tls_outcome, mode):
    old = certificate("127.0.0.1")
    old.server.minimum_version = ssl.TLSVersion.TLSv1
    old.server.maximum_version = ssl.TLSVersion.TLSv1_1
    with ByteServer(tls=old.server) as endpoint:
        outcome = tls_outcome(endpoint.base_url, mode, old)
        Raises(UNREACHED).check(outcome)


EOF_HEAD = head(200, {"Connection": "close"}, SSE_TYPE)
TLS_CASES = {
    "a good answer": ((GOOD_RESPONSE,), Returns(), JSON_MODES),
    "a good stream": ((GOOD_STREAM,), Returns(), STREAM_MODES),
    "an end without close_notify": (
        (EOF_HEAD + b"".join(EVENTS), Close(rude=True)),
        Returns(),
        STREAM_MODES,
    ),
    "a cut with close_notify": (
        (EOF_HEAD + HEL + LO[:20], Pause(0.05), Close()),
        Raises("StreamInterruptedError", partial="Hel"),
        STREAM_MODES,
    ),
    "a cut without close_notify": (
        (EOF_HEAD + HEL + LO[:20], Pause(0.05), Close(rude=True)),
        Raises("StreamInterruptedError", partial="Hel"),
        STREAM_MODES,
    ),
    "a cut without close_notify between events": (
        (EOF_HEAD + HEL, Pause(0.05), Close(rude=True)),
        Raises("StreamInterruptedError", partial="Hel"),
        STREAM_MODES,
    ),
    "a reset": (
        (EOF_HEAD + HEL, Reset()),
        Raises("StreamInterruptedError", partial="Hel"),
        STREAM_MODES,
    ),
    "silence": ((Hold(),), Raises("APITimeoutError"), ALL_MODES),
}


@pytest.mark.parametrize(
    ("name", "mode"), [(name, mode) for name, row in TLS_CASES.items() for mode in row[2]]
)
def test_faults_over_tls(trusted, tls_outcome, name, mode):
    script, expect, _ = TLS_CASES[name]
    with ByteServer(script, tls=trusted.server) as endpoint:
        timeout = 0.4 if name == "silence" else 8.0
        outcome = tls_outcome(endpoint.base_url, mode, trusted, timeout=timeout)
        expect.check(outcome)
        assert endpoint.settle()


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_proxy_that_refuses_is_named_without_its_password(monkeypatch, mode):
    with refusing_port() as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{port}")
        outcome = one_call("https://refused.invalid/v1", mode)
    Raises(UNREACHED, says=("proxy",), hides=("hunter2",)).check(outcome)


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_denies_the_tunnel_is_a_connection_error(monkeypatch, mode, status):
    denial = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    with ByteServer((denial,)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{proxy.port}")
        retries = 0 if status == 502 else 2
        outcome = one_call(f"https://tunnel-{status}-{mode}.invalid/v1", mode, max_retries=retries)
        says = (str(status),)
        Raises(UNREACHED, status == 502, says=says, hides=("hunter2",)).check(outcome)
        assert [request.method for request in proxy.requests] == ["CONNECT"], "asked once"
        assert "authorization" not in proxy.requests[0].headers
        assert KEY not in str(proxy.requests)
        assert proxy.settle()


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_proxy_that_never_answers_is_a_timeout(monkeypatch, mode):
    with ByteServer((Hold(),)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        outcome = one_call(f"https://silent-{mode}.invalid/v1", mode, timeout=0.4)
        Raises("APITimeoutError", says=("0.4",)).check(outcome)
        assert proxy.settle()


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used(monkeypatch, mode, variable):
    with ByteServer() as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        host = f"through-{variable.lower().replace('_', '-')}-{mode}.invalid"
        Returns().check(one_call(f"http://{host}/v1", mode))
        assert proxy.requests[0].target == f"http://{host}/v1/chat/completions"


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_407_of_a_plain_proxy_is_typed(monkeypatch, mode):
    denial = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with ByteServer((denial,)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        outcome = one_call(f"http://denied-{mode}.invalid/v1", mode, max_retries=2)
        denied = ("BadRequestError", "APIConnectionError", "AimlErnieError")
        Raises(denied, retryable=False, says=("407",)).check(outcome)
        assert len(proxy.requests) == 1


@pytest.mark.parametrize("mode", ALL_MODES)
def test_no_proxy_is_kept(monkeypatch, mode):
    with ByteServer() as endpoint, ByteServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        Returns().check(one_call(endpoint.base_url, mode))
        assert not proxy.connections


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/api/v3/", "/api/v3/chat/completions"),
        ("/chat/completions", "/chat/completions"),
        ("/chat/completions/", "/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/deployments/d/chat/completions", "/openai/deployments/d/chat/completions"),
    ],
)
def test_a_whole_endpoint_is_asked_itself(path, target, mode):
    with ByteServer() as endpoint:
        base_url = f"http://127.0.0.1:{endpoint.port}{path}"
        Returns().check(one_call(base_url, mode))
        # As a setting of a call, and of a copy, the address is read a second time.
        model = make_model("http://127.0.0.1:9").model_copy(update={"base_url": base_url})
        Returns().check(outcome_of(model, mode, max_retries=0))
        Returns().check(outcome_of(make_model("http://127.0.0.1:9"), mode, base_url=base_url))
        assert {request.target for request in endpoint.requests} == {target}


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/v1/models"),
        ("/v1/", "/v1/models"),
        ("/chat/completions", "/models"),
        ("/chat/completions/", "/models"),
        ("/api/v3/chat/completions", "/api/v3/models"),
    ],
)
def test_the_models_of_a_whole_endpoint_are_its_sibling(path, target):
    with ByteServer((response({"data": []}),), (response({"data": []}),)) as endpoint:
        base_url = f"http://127.0.0.1:{endpoint.port}{path}"
        nothing = {"base_url": base_url, "include": (), "endpoint": None}
        assert list_models(**nothing) == asyncio.run(alist_models(**nothing)) == []
        assert {request.target for request in endpoint.requests} == {target}


class OddTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """What a user may put into a client of their own, with a fault in it."""

    def handle_request(self, request):
        raise KeyError("odd")

    async def handle_async_request(self, request):
        raise KeyError("odd")


@pytest.mark.parametrize("mode", ALL_MODES)
def test_the_cause_of_an_unexpected_error_is_kept(mode):
    clients = {
        "http_client": httpx.Client(transport=OddTransport()),
        "http_async_client": httpx.AsyncClient(transport=OddTransport()),
    }
    outcome = outcome_of(make_model("http://127.0.0.1:9", **clients), mode)
    Raises(UNREACHED, retryable=False, says=("KeyError", "odd")).check(outcome)
    assert type(outcome.error.__cause__) is KeyError


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_connection_lost_on_accepting_does_not_stay(mode):
    with ByteServer(greetings=[(Reset(0.0),)]) as endpoint:
        outcome = play(endpoint, mode, requests=0)
        Raises(UNREACHED, retryable=True).check(outcome)
