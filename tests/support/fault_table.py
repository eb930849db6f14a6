"""Playing a case against the model, and what must hold whatever happened."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pickle
import threading
import time
import traceback
import types
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from langchain_aimlernie import ChatAimlErnie, errors
from tests.support.byte_server import wait_until
from tests.support.modes import ask, by_hand
from tests.support.response_bytes import KEY, TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import AIMessage

PROMPT = "Say hello."
CALL_ID = "call-of-the-faults"
HEADER_SECRET = "tenant-5ecret-9876543210"
HEADERS = {"x-tenant-token": HEADER_SECRET}
JSON_MODES = ("invoke", "ainvoke")
STREAM_MODES = ("stream", "astream")
ALL_MODES = (*JSON_MODES, *STREAM_MODES)
ASYNC_MODES = ("ainvoke", "astream")
SYNC_MODES = ("invoke", "stream")
"""For what sync and async calls do by the same code."""

HANG = 60.0
"""Seconds after which a call counts as hung: far above every clock that a case sets."""
SOON = 3.5
"""Seconds of a clock that is to run out: long enough for the request of a busy machine to arrive."""
LATEST = 20.0
"""Seconds by which a case with such a clock must be over; its wire goes on for longer."""


@dataclass(frozen=True)
class Raises:
    """The error that the user must get; what is left at its default is not compared."""

    error: str | tuple[str, ...]
    retryable: bool | None = None
    says: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()
    partial: str | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)

    def check(self, outcome):
        error = outcome.error
        assert error is not None, f"no error, but {outcome.message!r}"
        names = (self.error,) if isinstance(self.error, str) else self.error
        assert type(error).__name__ in names, f"{type(error).__name__}: {error}"
        if self.retryable is not None:
            assert error.is_retryable is self.retryable, repr(error)
        text = str(error)
        missing = [part for part in self.says if part.lower() not in text.lower()]
        assert not missing, f"{missing} not in: {text}"
        assert not [part for part in self.hides if part in text], text
        for name, value in self.attributes.items():
            assert getattr(error, name) == value, (
                f"{name}: {getattr(error, name)!r} is not {value!r}"
            )
        if self.partial is not None:
            came = text_of(error.partial) if error.partial is not None else ""
            assert came == self.partial, f"partial: {came!r}"
        if error.partial is not None:
            assert not error.partial.tool_calls, "half a call that looks whole"


@dataclass(frozen=True)
class Returns:
    """The message that the user must get; what is None is not compared.

    `invalid` is the number of invalid tool calls, or the arguments of each; `usage` the three
    counts, or all of it.
    """

    text: str | None = TEXT
    reasoning: str | None = None
    calls: Sequence[tuple[str, dict]] | None = ()
    invalid: int | Sequence[str] | None = 0
    usage: tuple[int, int, int] | dict | None = (11, 7, 18)
    metadata: Mapping[str, object] = field(default_factory=dict)
    extras: Mapping[str, object] | None = None

    def check(self, outcome):
        if outcome.error is not None:
            raise outcome.error
        message = outcome.message
        assert message is not None
        assert str(message.id).startswith("lc_run-"), message.id
        if self.text is not None:
            assert text_of(message) == self.text
            message.text.encode()
        if self.reasoning is not None:
            assert message.additional_kwargs.get("reasoning_content") == self.reasoning
        if self.calls is not None:
            assert [(c["name"], c["args"]) for c in message.tool_calls] == list(self.calls)
            ids = [c["id"] for c in (*message.tool_calls, *message.invalid_tool_calls)]
            assert all(ids), ids
            assert len(set(ids)) == len(ids), ids
        texts = [c["args"] for c in message.invalid_tool_calls]
        if isinstance(self.invalid, int):
            assert len(texts) == self.invalid, texts
        elif self.invalid is not None:
            assert texts == list(self.invalid)
        if self.extras is not None:
            assert message.additional_kwargs == self.extras
        is_whole = isinstance(self.usage, dict)
        assert (message.usage_metadata if is_whole else usage_of(message)) == self.usage
        for name, value in self.metadata.items():
            got = message.response_metadata.get(name)
            assert got == value, f"{name}: {got!r} is not {value!r}"


@dataclass(frozen=True)
class OneOf:
    """Two outcomes that are both right: the policy leaves it open."""

    message: Returns
    error: Raises

    def check(self, outcome):
        (self.message if outcome.error is None else self.error).check(outcome)


class Case(NamedTuple):
    """A wire behaviour, and what comes of it."""

    name: str
    script: bytes | tuple
    expect: Raises | Returns | OneOf
    modes: tuple[str, ...] = ALL_MODES
    settings: Mapping[str, object] = types.MappingProxyType({})


class Outcome(NamedTuple):
    """What one call came to."""

    message: AIMessage | None
    error: Exception | None
    seconds: float


def make_model(base_url, **settings):
    """A model without retries, unless the settings say otherwise."""
    given = {
        "max_retries": 0,
        "timeout": 30.0,
        "stream_idle_timeout": 30.0,
        "api_key": KEY,
        "client_request_id": CALL_ID,
    }
    return ChatAimlErnie(base_url=base_url, **given | settings)


def text_of(message):
    """The text of a message or chunk."""
    return str(message.text)


def usage_of(message):
    """Input, output and total tokens."""
    usage = message.usage_metadata
    return usage and (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"])


def call(model, mode, prompt=PROMPT, **options):
    """One call in a sync mode."""
    return by_hand(ask(model, prompt, mode, **options))


async def acall(model, mode, prompt=PROMPT, **options):
    """One call in any mode."""
    return await ask(model, prompt, mode, **options)


def in_threads(*actions, seconds=60.0):
    """Run each action in a thread of its own, and return what they return; a hang fails."""
    futures: list[Future[Any]] = [Future() for _ in actions]

    def run(action, future):
        try:
            future.set_result(action())
        except BaseException as error:  # noqa: BLE001 - raised again by `result`
            future.set_exception(error)

    threads = [
        threading.Thread(target=run, args=pair, daemon=True)
        for pair in zip(actions, futures, strict=True)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    assert not [thread for thread in threads if thread.is_alive()], f"a hang of {seconds} s"
    return [future.result() for future in futures]


def at_once(subtests, checks, at_most=16):
    """Make checks that mostly wait side by side; each that fails is named."""
    with ThreadPoolExecutor(at_most) as pool:
        made = {name: pool.submit(check) for name, check in checks.items()}
    for name, check in made.items():
        with subtests.test(name):
            check.result()


async def cancelled(coroutine, after, once=lambda: True):
    """Run a task until some seconds after `once` holds, cancel it, and see it end as cancelled."""
    task = asyncio.create_task(coroutine)
    assert await asyncio.to_thread(wait_until, once)
    await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def bounded(action, seconds=HANG):
    """Run `action` in a thread of its own: a hang fails the test instead of hanging it."""
    return in_threads(action, seconds=seconds)[0]


def run_async(main):
    """`asyncio.run` that fails when the loop was told of an error or a task was left."""

    async def watched():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        value = await main()
        gc.collect(0)
        deadline = time.monotonic() + 3
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            assert time.monotonic() < deadline, f"tasks left: {left}"
            await asyncio.sleep(0.002)
        return value

    complaints: list[dict] = []
    value = asyncio.run(watched())
    assert not complaints, complaints
    return value


def run_in(mode, main, seconds=HANG):
    """Run a coroutine function in an event loop if the mode is async; a hang fails."""
    is_async = mode in ASYNC_MODES
    return bounded(lambda: run_async(main) if is_async else by_hand(main()), seconds)


async def attempt(*args, **options):
    """`acall`, whatever it comes to."""
    started = time.monotonic()
    try:
        return Outcome(await acall(*args, **options), None, time.monotonic() - started)
    except Exception as error:  # noqa: BLE001 - any error is an outcome
        return Outcome(None, error, time.monotonic() - started)


@contextlib.asynccontextmanager
async def closing(resource, mode):
    """Enter a model or a client as the mode does, and close it."""
    if mode in ASYNC_MODES:
        async with resource:
            yield resource
    else:
        with resource:
            yield resource


def outcome_of(model, mode, *prompt, seconds=HANG, **options):
    """One call in any mode, then the model is closed."""

    async def main():
        async with closing(model, mode):
            return await attempt(model, mode, *prompt, **options)

    return run_in(mode, main, seconds)


def texts(model, mode, times=1):
    """The texts of calls in any mode, one after the other; then the model is closed."""

    async def main():
        async with closing(model, mode):
            return [text_of(await acall(model, mode)) for _ in range(times)]

    return run_in(mode, main)


def own_client_outcome(base_url, mode, verify=False, library=httpx, **settings):
    """One call through a client of the user's own, which the user closes."""
    is_async = mode in ASYNC_MODES
    name = "http_async_client" if is_async else "http_client"

    async def main():
        client = (library.AsyncClient if is_async else library.Client)(verify=verify)
        async with closing(client, mode):
            given = {"default_headers": HEADERS, name: client, **settings}
            return await attempt(make_model(base_url, **given), mode)

    outcome = run_in(mode, main)
    check_error(outcome.error)
    return outcome


def play(endpoint, mode, requests=1, **settings):
    """One call against the endpoint's script, then a good one: nothing may be left of the first."""
    model = make_model(endpoint.base_url, **{"default_headers": HEADERS, **settings})
    patience = {name: 30.0 for name in ("timeout", "stream_idle_timeout") if name in settings}
    is_async = mode in ASYNC_MODES

    async def main():
        outcome = await attempt(model, mode)
        assert len(endpoint.requests) == requests, f"{len(endpoint.requests)} requests"
        assert text_of(await acall(model, mode, **patience)) == TEXT
        settled = await endpoint.asettle(1) if is_async else endpoint.settle(1)
        assert settled, f"open {endpoint.open}, busy {endpoint.busy}"
        if not is_async:
            model.close()
        return outcome

    outcome = run_in(mode, main)
    assert endpoint.settle(), f"{endpoint.open} connections left after closing"
    check_error(outcome.error)
    has_short_clock = any(settings[name] <= SOON for name in patience)
    assert outcome.seconds < (LATEST if has_short_clock else HANG), f"{outcome.seconds} s"
    assert outcome.error is None or outcome.error.client_request_id in (CALL_ID, "***")
    return outcome


def check_error(error):
    """What holds for every error a call can raise."""
    if error is None:
        return
    assert isinstance(error, errors.AimlErnieError), f"foreign: {type(error)}: {error}"
    assert type(error).__module__.startswith("langchain_aimlernie"), type(error)
    assert error.message.strip(), "an error without words"
    assert len(str(error)) < 1500, f"{len(str(error))} characters"
    check_secrets(error)
    check_frames(error)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    for attribute in ("status_code", "request_id", "code", "retry_after", "is_retryable"):
        assert getattr(again, attribute) == getattr(error, attribute), attribute


def check_secrets(error, secret=KEY):
    """The secret is nowhere within reach of the error."""
    shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert secret not in shown, "the traceback shows the secret"
    for text in reachable(error):
        assert secret not in text, "the secret can be reached"
    with contextlib.suppress(pickle.PicklingError, TypeError, AttributeError):
        assert secret.encode() not in pickle.dumps(error)


def check_frames(error, *secrets):
    """No local variable of any frame of the error, or of those it came of, shows a secret."""
    for line in frame_lines(error):
        assert not any(secret in line for secret in secrets or (KEY, HEADER_SECRET)), line


def frame_lines(error):
    """What tools that print a traceback with its local variables print of the whole chain."""
    lines: list[str] = []
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    todo: list[traceback.TracebackException | None] = [shown]
    while todo:
        if (link := todo.pop()) is not None:
            todo += [link.__cause__, link.__context__]
            lines += [line for frame in link.format(chain=False) for line in frame.splitlines()]
    return lines


OPAQUE = (
    *(type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType),
    *(types.TracebackType, types.FrameType),
)
"""What a walk over the objects of an error does not enter; frames are for `check_frames`."""


def reachable(root):
    """Texts that can be reached from an error: attributes, arguments, causes, containers."""
    seen: dict[int, object] = {}
    todo = [root]
    while todo and len(seen) < 5000:
        value = todo.pop()
        if id(value) in seen or isinstance(value, OPAQUE):
            continue
        seen[id(value)] = value
        if isinstance(value, str | bytes):
            yield value if isinstance(value, str) else value.decode("latin-1")
        else:
            yield f"{value} {value!r}"
            todo.extend(gc.get_referents(value))
