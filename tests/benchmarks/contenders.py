"""What is compared: ours, the two halves of the floor, and the peers that are installed.

Each contender is made by one function of a base URL and a number of tokens, with the default
settings of its package otherwise, and is used through `invoke`, `ainvoke`, `stream`, `astream`.
The floor is what no chat model on httpx can go below, in two halves that are measured one by one
and added: a bare httpx client that sends the same request and reads the same answer, and a
`BaseChatModel` whose answers are there already, which is the price of LangChain's core.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from server import TOKEN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MODEL = "baidu/ernie-4.5-21b-a3b"
KEY = "benchmark"
FLOOR = ("raw", "nothing")
OURS, AIOHTTP = "ours", "aiohttp"

_ROLES = {"human": "user", "ai": "assistant", "system": "system"}
_DATA, _DONE = "data: ", "data: [DONE]"


class Contender(NamedTuple):
    """One column of the table.

    Attributes:
        label: Heading of its column.
        make: Model from base URL and tokens to ask for.
        aclose: Closes what the model holds for the running event loop.
        import_line: The import statement of a program that uses it; empty if not meaningful.
    """

    label: str
    make: Callable[[str, int], Any]
    aclose: Callable[[Any], Awaitable[None]]
    import_line: str = ""


class RawHttpx:
    """The request and the answer with a bare httpx client, in the shortest usual way."""

    def __init__(self, base_url, tokens):
        settings = {
            "base_url": base_url,
            "headers": {"Authorization": f"Bearer {KEY}"},
            "timeout": None,  # 1,000 calls for 100 connections outwait httpx's five seconds
        }
        self._tokens = tokens
        self.client = httpx.Client(**settings)
        self.async_client = httpx.AsyncClient(**settings)

    def invoke(self, messages):
        return _text(self.client.post("/chat/completions", json=self._body(messages)))

    async def ainvoke(self, messages):
        return _text(await self.async_client.post("/chat/completions", json=self._body(messages)))

    def stream(self, messages):
        body = self._body(messages, stream=True)
        with self.client.stream("POST", "/chat/completions", json=body) as answer:
            for line in answer.iter_lines():
                if line.startswith(_DATA) and line != _DONE:
                    yield _delta(line)

    async def astream(self, messages):
        body = self._body(messages, stream=True)
        async with self.async_client.stream("POST", "/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if line.startswith(_DATA) and line != _DONE:
                    yield _delta(line)

    def _body(self, messages, **more):
        wire = [{"role": _ROLES[m.type], "content": m.content} for m in messages]
        return {"model": MODEL, "messages": wire, "max_tokens": self._tokens, **more}


def _text(answer):
    return answer.json()["choices"][0]["message"]["content"]


def _delta(line):
    choices = json.loads(line[len(_DATA) :])["choices"]
    return choices[0]["delta"]["content"] if choices else ""


class Nothing(BaseChatModel):
    """A chat model whose answers are there already."""

    tokens: int

    @property
    def _llm_type(self):
        return "nothing"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=TOKEN))])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        return self._generate(messages)

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for _ in range(self.tokens):
            yield ChatGenerationChunk(message=AIMessageChunk(content=TOKEN))

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        for _ in range(self.tokens):
            yield ChatGenerationChunk(message=AIMessageChunk(content=TOKEN))


async def _nothing_to_close(_):
    pass


def _chat_model(package, name, aclose):
    def make(url, tokens, **more):
        chat_model = getattr(import_module(package), name)
        return chat_model(model=MODEL, api_key=KEY, base_url=url, max_tokens=tokens, **more)

    return Contender(name, make, aclose, f"from {package} import {name}")


_OURS = _chat_model("langchain_aimlernie", "ChatAimlErnie", lambda model: model.aclose())


def _on_aiohttp(url, tokens):
    transport = import_module("httpx_aiohttp.httpx2").AiohttpTransport()
    client = import_module("httpx2").AsyncClient(transport=transport, timeout=None)
    return _OURS.make(url, tokens, http_async_client=client)


CONTENDERS = {
    "raw": Contender("raw httpx", RawHttpx, lambda model: model.async_client.aclose()),
    "nothing": Contender(
        "empty model",
        lambda _, tokens: Nothing(tokens=tokens),
        _nothing_to_close,
        "from langchain_core.language_models import BaseChatModel",
    ),
    OURS: _OURS,
    AIOHTTP: Contender("on aiohttp", _on_aiohttp, lambda m: m.http_async_client.aclose()),
    "openai": _chat_model("langchain_openai", "ChatOpenAI", lambda m: m.root_async_client.close()),
    "mistral": _chat_model(
        "langchain_mistralai", "ChatMistralAI", lambda m: m.async_client.aclose()
    ),
}


def present(names):
    """The contenders that can be made, by name."""
    found = {}
    for name in names:
        try:
            CONTENDERS[name].make("http://127.0.0.1:9/v1", 1)
            found[name] = CONTENDERS[name]
        except (ImportError, AttributeError) as error:
            sys.stderr.write(f"{name} is left out: {error}\n")
    return found
