"""What is compared: ours, the two halves of the floor, and the peers that are installed.

Each contender is made by one function of a base URL and a number of tokens, with the default
settings of its package otherwise, and is used through `invoke`, `ainvoke`, `stream`, `astream`.
The floor is what no chat model on httpx can go below, in two halves that are measured one by one
and added: a bare httpx client that sends the same request and reads the same answer, and a
`BaseChatModel` whose answers are there already, which is the price of LangChain's core.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from server import TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from langchain_core.messages import BaseMessage

    _Close = Callable[[Any], Awaitable[None]]

MODEL = "baidu/ernie-4.5-21b-a3b"
KEY = "benchmark"

_ROLES = {"human": "user", "ai": "assistant", "system": "system"}
_DATA, _DONE = "data: ", "data: [DONE]"


@dataclass(frozen=True, slots=True)
class Contender:
    """One column of the table.

    Attributes:
        name: Name on the command line.
        label: Heading of its column.
        make: Model from base URL and tokens to ask for.
        aclose: Closes what the model holds for the running event loop.
        import_line: The import statement of a program that uses it; empty if not meaningful.
    """

    name: str
    label: str
    make: Callable[[str, int], Any]
    aclose: _Close
    import_line: str = ""


class RawHttpx:
    """The request and the answer with a bare httpx client, in the shortest usual way."""

    def __init__(self, base_url: str, tokens: int) -> None:
        settings = {
            "base_url": base_url,
            "headers": {"Authorization": f"Bearer {KEY}"},
            "timeout": None,  # 1,000 calls for 100 connections outwait httpx's five seconds
        }
        self._tokens = tokens
        self.client = httpx.Client(**settings)
        self.async_client = httpx.AsyncClient(**settings)

    def invoke(self, messages: Sequence[BaseMessage]) -> str:
        return _text(self.client.post("/chat/completions", json=self._body(messages)).json())

    async def ainvoke(self, messages: Sequence[BaseMessage]) -> str:
        answer = await self.async_client.post("/chat/completions", json=self._body(messages))
        return _text(answer.json())

    def stream(self, messages: Sequence[BaseMessage]) -> Iterator[str]:
        body = self._body(messages, stream=True)
        with self.client.stream("POST", "/chat/completions", json=body) as answer:
            for line in answer.iter_lines():
                if line.startswith(_DATA) and line != _DONE:
                    yield _delta(json.loads(line[len(_DATA) :]))

    async def astream(self, messages: Sequence[BaseMessage]) -> AsyncIterator[str]:
        body = self._body(messages, stream=True)
        async with self.async_client.stream("POST", "/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if line.startswith(_DATA) and line != _DONE:
                    yield _delta(json.loads(line[len(_DATA) :]))

    def _body(self, messages: Sequence[BaseMessage], **more: object) -> dict[str, object]:
        wire = [{"role": _ROLES[m.type], "content": m.content} for m in messages]
        return {"model": MODEL, "messages": wire, "max_tokens": self._tokens, **more}


def _text(completion: dict[str, Any]) -> str:
    return completion["choices"][0]["message"]["content"]


def _delta(chunk: dict[str, Any]) -> str:
    return chunk["choices"][0]["delta"]["content"] if chunk["choices"] else ""


class Nothing(BaseChatModel):
    """A chat model whose answers are there already."""

    tokens: int

    @property
    def _llm_type(self) -> str:
        return "nothing"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=TOKEN))])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=TOKEN))])

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for _ in range(self.tokens):
            yield ChatGenerationChunk(message=AIMessageChunk(content=TOKEN))

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        for _ in range(self.tokens):
            yield ChatGenerationChunk(message=AIMessageChunk(content=TOKEN))


async def _nothing_to_close(_: Nothing) -> None:
    pass


def _on_aiohttp() -> Contender:
    httpx2, transports = import_module("httpx2"), import_module("httpx_aiohttp.httpx2")
    ours = _MAKERS[OURS]()

    def make(url: str, tokens: int) -> Any:
        client = httpx2.AsyncClient(transport=transports.AiohttpTransport(), timeout=None)
        return _model_class(ours.import_line)(
            model=MODEL, api_key=KEY, base_url=url, max_tokens=tokens, http_async_client=client
        )

    return Contender(AIOHTTP, "on aiohttp", make, lambda m: m.http_async_client.aclose())


def _model_class(import_line: str) -> Any:
    _, package, _, name = import_line.split()
    return getattr(import_module(package), name)


def _chat_model(name: str, package: str, chat_model: str, aclose: _Close) -> Contender:
    made_by = getattr(import_module(package), chat_model)
    return Contender(
        name,
        chat_model,
        lambda url, tokens: made_by(model=MODEL, api_key=KEY, base_url=url, max_tokens=tokens),
        aclose,
        f"from {package} import {chat_model}",
    )


_MAKERS: dict[str, Callable[[], Contender]] = {
    "raw": lambda: Contender(
        "raw",
        "raw httpx",
        RawHttpx,
        lambda model: model.async_client.aclose(),
    ),
    "nothing": lambda: Contender(
        "nothing",
        "empty model",
        lambda _, tokens: Nothing(tokens=tokens),
        _nothing_to_close,
        "from langchain_core.language_models import BaseChatModel",
    ),
    "ours": lambda: _chat_model(
        "ours",
        "langchain_aimlernie",
        "ChatAimlErnie",
        lambda model: model.aclose(),
    ),
    "aiohttp": _on_aiohttp,
    "openai": lambda: _chat_model(
        "openai",
        "langchain_openai",
        "ChatOpenAI",
        lambda model: model.root_async_client.close(),
    ),
    "mistral": lambda: _chat_model(
        "mistral",
        "langchain_mistralai",
        "ChatMistralAI",
        lambda model: model.async_client.aclose(),
    ),
}

FLOOR = ("raw", "nothing")
OURS = "ours"
AIOHTTP = "aiohttp"
NAMES = tuple(_MAKERS)
EVERYBODY = frozenset(NAMES) - {AIOHTTP}
CHAT_MODELS = EVERYBODY - {"raw"}


def contender(name: str) -> Contender:
    """The contender of that name.

    Raises:
        ImportError: Its package is not installed.
        AttributeError: Its package has no such class.
    """
    return _MAKERS[name]()
