"""HTTP clients and timeouts of users: those of httpx, of httpx2 and of openai, in every mode."""

import asyncio
import contextlib
import functools
import gzip

import httpx
import httpx2
import openai
import pytest

from langchain_aimlernie import errors
from tests.support import response_bytes as wire
from tests.support.byte_server import ByteServer
from tests.support.fault_table import check_secrets, closing, make_model
from tests.support.garbage import collect
from tests.support.modes import LISTS, ask

SYNC = {"httpx": httpx.Client, "httpx2": httpx2.Client, "openai": openai.DefaultHttpxClient}
ASYNC = {
    "httpx": httpx.AsyncClient,
    "httpx2": httpx2.AsyncClient,
    "openai": openai.DefaultAsyncHttpxClient,
}
LIBRARIES = ("httpx", "httpx2")


@contextlib.asynccontextmanager
async def client_of(mode, library, **settings):
    """A client of the user for this kind of call, and the setting of the model that takes it."""
    is_async = mode[0] == "a"
    client = (ASYNC if is_async else SYNC)[library](verify=False, **settings)
    async with closing(client, mode):
        yield client, {"http_async_client" if is_async else "http_client": client}


async def text_of(make, mode, library, **settings):
    """What one call over a client of the user says; an error is raised."""
    async with client_of(mode, library, **settings) as (_, setting):
        return (await ask(make(**setting), "hi", mode)).text


@pytest.mark.parametrize("library", SYNC)
async def test_a_client_of_the_user_sends_the_call_and_its_failures_are_retried_and_typed(
    model, ernie_server, library, mode
):
    ernie_server.fail(503, headers={"retry-after-ms": "1"})
    ernie_server.reply("Hello")
    settings = {"headers": {"X-Own": "yes"}, "params": {"version": "1"}}
    assert await text_of(model, mode, library, **settings) == "Hello"
    assert ernie_server.last_request.query == {"version": ["1"]}
    headers = ernie_server.last_request.headers
    assert (headers["x-own"], headers["authorization"]) == ("yes", f"Bearer {ernie_server.api_key}")
    assert ernie_server.violations == []
    ernie_server.fail(400)
    with pytest.raises(errors.BadRequestError):
        await text_of(model, mode, library)
    nowhere = functools.partial(model, base_url="http://127.0.0.1:9", max_retries=0)
    with pytest.raises(errors.APIConnectionError, match="Cannot connect"):
        await text_of(nowhere, mode, library)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_client_of_the_user_follows_no_redirect_and_stays_open(library, mode):
    moved = wire.response(b"", 307, {"Location": "/elsewhere"})
    with ByteServer(moved) as server:
        async with client_of(mode, library, follow_redirects=True) as (client, setting):
            llm = make_model(server.base_url, **setting)
            with pytest.raises(errors.InvalidResponseError):
                await ask(llm, "hi", mode)
            assert (await ask(llm, "hi", mode)).text == wire.TEXT
            llm.close()
            await llm.aclose()
            assert not client.is_closed
        assert server.connections == 1


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_closed_client_is_named_as_the_cause(model, ernie_server, library, mode):
    async with client_of(mode, library) as (_, setting):
        pass
    with pytest.raises(errors.APIConnectionError, match="closed") as caught:
        await ask(model(max_retries=3, **setting), "hi", mode)
    assert not caught.value.is_retryable


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_client_with_a_timeout_of_its_own_keeps_it(model, ernie_server, library, mode):
    ernie_server.reply("late", delay=60)
    with pytest.raises(errors.APITimeoutError):
        await text_of(functools.partial(model, max_retries=0), mode, library, timeout=0.5)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("key", ["sk-98765\nx", "sk-98765\u200b"], ids=ascii)
async def test_a_header_of_the_client_that_cannot_be_sent_is_not_shown(
    model, ernie_server, library, mode, key
):
    def add_key(request):
        request.headers["x-key"] = key.encode("ascii").decode()

    async def aadd_key(request):
        add_key(request)

    hooks = {"request": [aadd_key if mode[0] == "a" else add_key]}
    with pytest.raises(errors.BadRequestError, match="not valid HTTP") as caught:
        await text_of(model, mode, library, event_hooks=hooks)
    check_secrets(caught.value, "sk-98765")
    assert not ernie_server.requests


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("is_packed", [False, True])
async def test_a_hook_of_it_may_read_the_response(library, mode, is_packed):
    def read(response):
        response.read()

    async def aread(response):
        await response.aread()

    hooks = {"response": [aread if mode[0] == "a" else read]}
    whole = wire.SSE_TYPE, b"".join(wire.EVENTS)
    kind, body = whole if "stream" in mode else ("application/json", wire.completion())
    headers = {"Content-Encoding": "gzip"} if is_packed else {}
    sent = gzip.compress(wire.as_bytes(body)) if is_packed else body
    script = wire.response(sent, headers=headers, content_type=kind)
    with ByteServer(rest=script) as server:
        make = functools.partial(make_model, server.base_url)
        assert await text_of(make, mode, library, event_hooks=hooks) == wire.TEXT


@pytest.mark.parametrize("library", LIBRARIES)
async def test_an_error_that_a_hook_of_it_raises_is_typed(model, ernie_server, library, mode):
    def check(response):
        response.raise_for_status()

    async def acheck(response):
        response.raise_for_status()

    ernie_server.fail(429)
    make = functools.partial(model, max_retries=0)
    hooks = {"response": [acheck if mode[0] == "a" else check]}
    with pytest.raises(errors.RateLimitError):
        await text_of(make, mode, library, event_hooks=hooks)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_timeout_of_its_own_is_not_taken_for_ours(model, ernie_server, library, mode):
    def fail(response):
        raise TimeoutError(110, "Connection timed out")

    async def afail(response):
        fail(response)

    hooks = {"response": [afail if mode[0] == "a" else fail]}
    make = functools.partial(model, max_retries=0)
    with pytest.raises(errors.APIConnectionError, match="broke before complete response headers"):
        await text_of(make, mode, library, event_hooks=hooks)


WRONG_CLIENTS = {
    "an async client": ("http_client", httpx2.AsyncClient, "an async client"),
    "openai's async client": ("http_client", openai.DefaultAsyncHttpxClient, "an async client"),
    "a sync client": ("http_async_client", httpx2.Client, "a sync client"),
    "a class": ("http_client", lambda: httpx2.Client, "the class Client"),
    "an async class": ("http_async_client", lambda: httpx.AsyncClient, "the class AsyncClient"),
    "a transport": ("http_client", httpx2.HTTPTransport, "type HTTPTransport"),
    "a text": ("http_async_client", lambda: "client", "type str"),
}


@pytest.mark.parametrize("wrong", WRONG_CLIENTS)
def test_what_is_no_client_of_the_kind_is_refused_with_its_name(model, wrong):
    name, make, got = WRONG_CLIENTS[wrong]
    client = make()
    with contextlib.ExitStack() as stack:
        if isinstance(client, (httpx2.Client, httpx2.HTTPTransport)):
            stack.enter_context(client)
        with pytest.raises(ValueError, match=f"{name} must be .*{got}"):
            model(**{name: client})
        with pytest.raises(errors.BadRequestError, match=f"{name} must be .*{got}"):
            model().invoke("hi", **{name: client})
        with pytest.raises(ValueError, match=f"http_client must be .*{got}"):
            LISTS["async" if "async" in name else "sync"](http_client=client)


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize("kind", ["ConnectTimeout", "WriteTimeout", "ReadTimeout"])
async def test_an_error_does_not_name_a_timeout_that_was_not_the_client_s(
    model, mode, library, kind
):
    def fail(request):
        raise getattr(library, kind)("late")

    transport = library.MockTransport(fail)
    llm = model(
        http_client=library.Client(transport=transport),
        http_async_client=library.AsyncClient(transport=transport),
        max_retries=0,
    )
    with pytest.raises(errors.APITimeoutError, match=r" 0\.\d+ s| \de-\d+ s") as caught:
        await ask(llm, "hi", mode)
    assert not any(f" {seconds} s" in str(caught.value) for seconds in (5, 30, 300, 600))


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("library", [httpx, httpx2])
def test_an_async_client_of_another_loop_is_named_as_the_cause(model, ernie_server, library):
    llm = model(http_async_client=library.AsyncClient())
    asyncio.run(llm.ainvoke("hi"))
    with pytest.raises(errors.APIConnectionError, match="belongs to one event loop"):
        asyncio.run(llm.ainvoke("hi"))
    assert len(ernie_server.requests) <= 2  # it may have been processed, so it is not sent again
    collect()
