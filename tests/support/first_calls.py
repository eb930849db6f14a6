"""First calls of a process, each in an event loop: what of each blocks the loop.

Run with the addresses of a server and of one with TLS. Prints a line of JSON for each call: its
name, the imports, opened files and look-ups of names that the loop had to wait for, and what the
call came to. Blocking calls that blockbuster knows end in a `BlockingError`.
"""

import asyncio
import base64
import contextlib
import json
import os
import socket
import sys
import threading
import warnings
from collections import defaultdict

from blockbuster import BlockBuster
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from pydantic import BaseModel
from typing_extensions import TypedDict

from langchain_aimlernie import ChatAimlErnie, SpendTracker, alist_models
from tests.support.loops import LOOPS

URL, TLS_URL = sys.argv[1:]
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
BLOCKING = {"import", "open", "os.listdir", "os.scandir", "look-up", "time.sleep"}
"""Events of `sys.audit`, and one that is not."""


class City(BaseModel):
    """A city."""

    name: str


class CityDict(TypedDict):
    """A city."""

    name: str


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return city


def new_model(**settings):
    defaults = {"base_url": URL, "api_key": "local-ernie-key", "max_retries": 0}
    return ChatAimlErnie(**{**defaults, **settings})


OUTSIDE = new_model()


async def consume(chunks):
    return [chunk async for chunk in chunks]


async def enter_and_leave():
    async with new_model():
        pass


async def tracked():
    with SpendTracker() as tracker:
        await new_model().ainvoke("hi")
    return tracker.usd


def structured(schema, **options):
    return new_model().with_structured_output(schema, **options).ainvoke("hi")


async def counted():
    model = new_model()
    model.get_num_tokens("hi")
    return model.get_num_tokens_from_messages([HumanMessage("文心 😀")], tools=[weather])


FIRST = {
    "ainvoke": lambda: new_model().ainvoke("hi"),
    "ainvoke of a model made before": lambda: OUTSIDE.ainvoke("hi"),
    "astream": lambda: consume(new_model().astream("hi")),
    "alist_models": lambda: alist_models(base_url=URL),
    "async with": enter_and_leave,
    "failing": lambda: new_model().ainvoke("fail 401"),
    "TLS": lambda: new_model(base_url=TLS_URL).ainvoke("hi"),
}
"""Nothing is loaded before any of these."""

LATER = {
    "abatch": lambda: new_model().abatch(["hi", "hello"]),
    "astream_events": lambda: consume(new_model().astream_events("hi", version="v2")),
    "bind_tools": lambda: new_model().bind_tools([weather, City]).ainvoke("hi"),
    "structured by a class": lambda: structured(City),
    "structured by a TypedDict": lambda: structured(CityDict),
    "structured by a schema": lambda: structured(City.model_json_schema()),
    "structured by a tool": lambda: structured(City, method="function_calling"),
    "structured in JSON mode": lambda: structured(City, method="json_mode", retry=True),
    "streamed objects": lambda: consume(new_model().with_structured_output(City).astream("hi")),
    "counting tokens": counted,
    "an image": lambda: new_model(model="baidu/ernie-4.5-vl-28b-a3b").ainvoke(
        [HumanMessage(["hi", IMAGE])]
    ),
    "half a character": lambda: new_model().ainvoke("hi \ud83d"),
    "a spend tracker": tracked,
    "settings of a call": lambda: new_model().ainvoke("hi", timeout=5, max_retries=1),
    "a host's name": lambda: new_model(base_url=URL.replace("127.0.0.1", "localhost")).ainvoke(
        "hi"
    ),
    "a retry": lambda: new_model(max_retries=1).ainvoke("fail once"),
    "failing with 400": lambda: new_model().ainvoke("fail 400"),
    "failing with 429": lambda: new_model().ainvoke("fail 429"),
    "failing with 503": lambda: new_model().ainvoke("fail 503"),
    "no JSON": lambda: new_model().ainvoke("fail body"),
    "control characters": lambda: new_model().ainvoke("fail control"),
    "a cut stream": lambda: consume(new_model().astream("fail cut")),
    "a late answer": lambda: new_model(timeout=0.05).ainvoke("fail late"),
    "nobody listening": lambda: new_model(base_url="http://127.0.0.1:1/v1").ainvoke("hi"),
    "no TLS": lambda: new_model(base_url=URL.replace("http:", "https:")).ainvoke("hi"),
    "no answer": lambda: new_model(base_url=TLS_URL.replace("https:", "http:")).ainvoke("hi"),
    "a wrong setting of a call": lambda: new_model().ainvoke("hi", timeout=-1),
}
"""What else is loaded later than the class is loaded by one of these."""

found: dict[object, list[str]] = defaultdict(list)
"""The events of each running loop."""


def note(event, arguments):
    """Note what a loop waits for; a module that is imported by any means is a file that is opened."""
    if event not in BLOCKING:
        return
    with contextlib.suppress(RuntimeError):
        found[id(asyncio.get_running_loop())].append(f"{event} {arguments[0]}")


def look_up(host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002, PLR0917  as in socket
    """Look up a host; only a name, not a number, takes time."""
    if not flags & socket.AI_NUMERICHOST:
        note("look-up", [host])
    return getaddrinfo(host, port, family, type, proto, flags)


async def watched(name, call):
    """Make a call, and print what of it blocked the loop."""
    events = found[id(asyncio.get_running_loop())]
    events.clear()
    try:
        came = await call()
    except Exception as error:  # noqa: BLE001  an error is an outcome
        came = error
    line = {"name": name, "blocked": events, "came": f"{type(came).__name__}: {came}"[:200]}
    sys.stdout.write(json.dumps(line) + "\n")


async def later():
    for name, call in LATER.items():
        await watched(name, call)


def in_two_threads():
    def one(name):
        asyncio.run(watched(name, FIRST["ainvoke"]))

    threads = [threading.Thread(target=one, args=[f"thread {number}"]) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_child(action):
    """Run something as if nothing had been called before."""
    sys.stdout.flush()
    with warnings.catch_warnings():  # Python 3.12 may count threads that were joined and just end
        warnings.filterwarnings("ignore", ".*is multi-threaded", DeprecationWarning)
        child = os.fork()
    if not child:
        action()
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


async def core_alone():
    """Let LangChain's core import what it imports in the first call of any model."""
    model = FakeListChatModel(responses=["hi"])
    await model.ainvoke("hi")
    await model.abatch(["hi"])
    await consume(model.astream("hi"))
    await consume(model.astream_events("hi", version="v2"))


getaddrinfo, socket.getaddrinfo = socket.getaddrinfo, look_up

if __name__ == "__main__":
    asyncio.run(core_alone())
    BlockBuster().activate()
    sys.addaudithook(note)
    for name, call in FIRST.items():
        in_child(lambda name=name, call=call: asyncio.run(watched(name, call)))
    if "uvloop" in LOOPS:
        in_child(lambda: LOOPS["uvloop"](watched("uvloop", FIRST["ainvoke"])))
    in_child(in_two_threads)
    asyncio.run(later())
