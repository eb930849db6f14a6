"""`aimlernie doctor`: compare what a server and a model do with the model's profile."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import AIMessage, HumanMessage

from langchain_aimlernie import account
from langchain_aimlernie._cli.chat import Completion
from langchain_aimlernie._cli.output import FAILED, CommandError, format_usd, write, write_json
from langchain_aimlernie._settings.values import is_default_host
from langchain_aimlernie._text import truncate
from langchain_aimlernie.errors import (
    AimlErnieError,
    AuthenticationError,
    BadRequestError,
    InsufficientCreditsError,
    NotFoundError,
    PermissionDeniedError,
)
from langchain_aimlernie.models import list_models
from langchain_aimlernie.profiles import find_model
from langchain_aimlernie.spend.amounts import parse_amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from langchain_aimlernie.chat_models import ChatAimlErnie

_MAX_NOTE = 70
_LOCAL = "local-ErnieServer"
"""The `system_fingerprint` of the local server, whose fake model does not look at media."""

_FIRST = "text"
"""The name of the first probe."""

_CITY: Mapping[str, Any] = {
    "title": "City",
    "description": "A city.",
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["name", "people"],
    "additionalProperties": False,
}

RED_PNG = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAb0lEQVR4nO3PAQkAAAyEwO9feoshgnABdLep8QUN"
    "yPEFDcjxBQ3I8QUNyPEFDcjxBQ3I8QUNyPEFDcjxBQ3I8QUNyPEFDcjxBQ3I8QUNyPEFDcjxBQ3I8QUNyPEFDcjx"
    "BQ3I8QUNyPEFDcjxBQ3IPanc8OLDQitxAAAAAElFTkSuQmCC"
)
"""A red picture of 64 by 64 pixels."""


WALNUT_PDF = (
    "data:application/pdf;base64,"
    "JVBERi0xLjQKMSAwIG9iago8PCAvVHlwZSAvQ2F0YWxvZyAvUGFnZXMgMiAwIFIgPj4KZW5kb2JqCjIgMCBvYmoKPDwg"
    "L1R5cGUgL1BhZ2VzIC9LaWRzIFszIDAgUl0gL0NvdW50IDEgPj4KZW5kb2JqCjMgMCBvYmoKPDwgL1R5cGUgL1BhZ2Ug"
    "L1BhcmVudCAyIDAgUiAvTWVkaWFCb3ggWzAgMCA0MDAgMTIwXSAvQ29udGVudHMgNCAwIFIgL1Jlc291cmNlcyA2IDAg"
    "UiA+PgplbmRvYmoKNCAwIG9iago8PCAvTGVuZ3RoIDQ5ID4+CnN0cmVhbQpCVCAvRjEgMjQgVGYgMjAgNjAgVGQgKFRo"
    "ZSB3b3JkIGlzIHdhbG51dC4pIFRqIEVUCmVuZHN0cmVhbQplbmRvYmoKNSAwIG9iago8PCAvVHlwZSAvRm9udCAvU3Vi"
    "dHlwZSAvVHlwZTEgL0Jhc2VGb250IC9IZWx2ZXRpY2EgPj4KZW5kb2JqCjYgMCBvYmoKPDwgL0ZvbnQgPDwgL0YxIDUg"
    "MCBSID4+ID4+CmVuZG9iagp4cmVmCjAgNwowMDAwMDAwMDAwIDY1NTM1IGYgCjAwMDAwMDAwMDkgMDAwMDAgbiAKMDAw"
    "MDAwMDA1OCAwMDAwMCBuIAowMDAwMDAwMTE1IDAwMDAwIG4gCjAwMDAwMDAyMTkgMDAwMDAgbiAKMDAwMDAwMDMxOCAw"
    "MDAwMCBuIAowMDAwMDAwMzg4IDAwMDAwIG4gCnRyYWlsZXIKPDwgL1NpemUgNyAvUm9vdCAxIDAgUiA+PgpzdGFydHhy"
    "ZWYKNDMxCiUlRU9GCg=="
)
"""A PDF of one page with the text "The word is walnut."."""


class Finding(NamedTuple):
    """Whether the model has a capability (`None` if that is not known), and the response."""

    works: bool | None
    note: str = ""
    message: AIMessage | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: whether profile and server have a capability, `None` if not known."""

    capability: str
    profile: bool | None
    server: bool | None
    usd: Decimal | None
    result: str
    note: str


def run(llm: ChatAimlErnie, *, as_json: bool) -> int:
    """Check the server, then make one call for each capability; return the exit code."""
    checks = _check_server(llm)
    if not as_json:
        write("".join(f"{name:<10}{value}\n" for name, value in checks.items()) + "\n")
        write(_line("capability", "profile", "server", "cost", "result"))
    rows = []
    for row in _Probes(llm):
        rows.append(row)
        if not as_json:
            write(_format(row))
    differ, failed = (sum(row.result == name for row in rows) for name in ("differs", "failed"))
    is_ok = not differ + failed
    total = sum((row.usd for row in rows if row.usd is not None), Decimal(0))
    if as_json:
        write_json({"ok": is_ok, "usd": total, "checks": checks, "capabilities": rows})
    else:
        summary = "The server does what the profile says"
        if not is_ok:
            summary = f"Differences: {differ} of {len(rows)}, failed: {failed}"
        write(f"\n{summary}; all calls together cost {format_usd(total)}\n")
    return 0 if is_ok else FAILED


def _check_server(llm: ChatAimlErnie) -> dict[str, str]:
    """Return facts about server, model, key and balance, by name."""
    server: dict[str, Any] = {"base_url": llm.base_url, "api_key": llm.api_key}
    names = {name for card in list_models(**server) for name in (card.id, *card.aliases)}
    is_listed = llm.model_name in names or find_model(llm.model_name).id in names
    checks = {
        "base URL": f"{llm.base_url}, responds",
        "model": f"{llm.model_name}, {'listed' if is_listed else 'not in the list of models'}",
    }
    if llm.api_key is None and not is_default_host(llm.base_url):
        return {**checks, "key": "none; self-hosted servers need none"}
    try:
        key = account.key_info(**server)
        balance = account.balance(**server).current_balance
    except (NotFoundError, PermissionDeniedError) as error:
        return {**checks, "account": f"not readable: {error}"}
    if key.disabled:
        raise CommandError("the key is disabled.")
    if balance <= 0:
        raise CommandError(f"the account has no balance left: {format_usd(balance)}.")
    threshold = None if key.limit is None else key.limit.threshold
    limit = "no limit" if threshold is None else f"limit {format_usd(threshold)}"
    return {**checks, "key": f"accepted, {limit}", "balance": format_usd(balance)}


def get_weather(city: str) -> None:
    """Get the weather of a city."""


def get_time(city: str) -> None:
    """Get the local time of a city."""


class _Probes:
    """The probes of a model; each makes one call and results in a row."""

    _has_cost = _reasons = False  # results of earlier probes

    def __init__(self, llm: ChatAimlErnie) -> None:
        self._llm = llm

    def __iter__(self) -> Iterator[Row]:
        """Make the calls in turn."""
        spec = find_model(self._llm.model_name)
        profile: Mapping[str, Any] = self._llm.profile or {}
        has_format = None if spec.fields is None else "response_format" in spec.fields
        yield _check(_FIRST, self._text, True)
        yield _check("stream", self._stream, True)
        yield _check("tools", self._tools, profile.get("tool_calling"))
        yield _check("forced tool", self._forced_tool, profile.get("tool_choice"))
        yield _check("parallel tools", self._parallel_tools, None)
        yield _check("json_schema", self._json_schema, profile.get("structured_output"))
        yield _check("json_object", self._json_object, has_format)
        yield _check("reasoning", self._reasoning, profile.get("reasoning_output"))
        switch = spec.thinking_switch if spec.known else None
        yield _check("thinking switch", self._switch, switch)
        yield _check("image", self._image, profile.get("image_inputs"))
        yield _check("PDF", self._pdf, profile.get("pdf_inputs"))

    def _text(self) -> Finding:
        message = self._llm.invoke("Reply with the word: hello")
        self._has_cost = _has_cost(message)
        return Finding(bool(message.text.strip()), "" if self._has_cost else "no cost", message)

    def _stream(self) -> Finding:
        completion = Completion()
        completion.stream(self._llm, [HumanMessage("Count from one to ten.")])
        message = completion.message()
        if message.usage_metadata is None:
            return Finding(False, "no usage", message)
        if self._has_cost and not _has_cost(message):
            return Finding(False, "no cost, unlike a response that is not streamed", message)
        return Finding(bool(message.text.strip()), f"{len(completion)} chunks", message)

    def _tools(self) -> Finding:
        return self._call("What is the weather in Paris?", [get_weather])

    def _forced_tool(self) -> Finding:
        # In `extra_body`, since `bind_tools` would not force a model that reasons.
        choice = {"type": "function", "function": {"name": "get_weather"}}
        return self._call("Hello!", [get_weather], extra_body={"tool_choice": choice})

    def _parallel_tools(self) -> Finding:
        prompt = "Call get_weather and get_time for Paris, both at once."
        return self._call(prompt, [get_weather, get_time], parallel_tool_calls=True)

    def _call(self, prompt: str, tools: list[Any], **settings: Any) -> Finding:
        """Check that exactly these tools are called, for a city."""
        message = self._llm.bind_tools(tools, **settings).invoke(prompt)
        called = [call["name"] for call in message.tool_calls]
        is_right = sorted(called) == sorted(tool.__name__ for tool in tools)
        has_city = all("city" in call["args"] for call in message.tool_calls)
        note = f"called {', '.join(called) or 'nothing'}"
        return Finding(is_right and has_city, note, message)

    def _json_schema(self) -> Finding:
        llm = self._llm.with_structured_output(_CITY, method="json_schema", include_raw=True)
        result = llm.invoke("Paris has 2100000 people.")
        problem = result["parsing_error"]
        return Finding(problem is None, "" if problem is None else str(problem), result["raw"])

    def _json_object(self) -> Finding:
        llm = self._llm.bind(response_format={"type": "json_object"})
        message = llm.invoke("Reply with a JSON object that has the capital of France.")
        try:
            is_object = isinstance(json.loads(str(message.text)), dict)
        except ValueError:
            is_object = False
        return Finding(is_object, "" if is_object else str(message.text), message)

    def _reasoning(self) -> Finding:
        message = self._llm.invoke("Is 91 a prime number?")
        self._reasons = _has_reasoning(message)
        return Finding(self._reasons, message=message)

    def _switch(self) -> Finding:
        body = {"enable_thinking": not self._reasons}
        message = self._llm.invoke("Is 91 a prime number?", extra_body=body)
        note = f"with enable_thinking={not self._reasons}"
        return Finding(_has_reasoning(message) != self._reasons, note, message)

    def _image(self) -> Finding:
        block = {"type": "image_url", "image_url": {"url": RED_PNG}}
        return self._show("Which colour is this? Reply with one word.", block, "red")

    def _pdf(self) -> Finding:
        file = {"filename": "sample.pdf", "file_data": WALNUT_PDF}
        prompt = "Which word does the document give? Reply with it."
        return self._show(prompt, {"type": "file", "file": file}, "walnut")

    def _show(self, prompt: str, block: dict[str, Any], expected: str) -> Finding:
        """Check that the response to a medium has the expected word."""
        content: list[str | dict[Any, Any]] = [{"type": "text", "text": prompt}, block]
        if block["type"] in find_model(self._llm.model_name).parts:
            message = self._llm.invoke([HumanMessage(content)])
        else:  # the package would refuse it
            body = {"messages": [{"role": "user", "content": content}]}
            message = self._llm.invoke(prompt, extra_body=body)
        if message.response_metadata.get("system_fingerprint") == _LOCAL:
            return Finding(True, "accepted; the fake model sees nothing", message)
        return Finding(expected in message.text.lower(), f"it says: {message.text}", message)


def _has_reasoning(message: AIMessage) -> bool:
    return bool(message.additional_kwargs.get("reasoning_content"))


def _has_cost(message: AIMessage) -> bool:
    return message.response_metadata.get("usd_spent") is not None


def _check(name: str, run_probe: Callable[[], Finding], expected: bool | None) -> Row:
    """Make the call of a probe; return its row."""
    try:
        finding = run_probe()
    except (AuthenticationError, InsufficientCreditsError):
        raise
    except (BadRequestError, NotFoundError) as error:
        if name == _FIRST and isinstance(error, NotFoundError):
            raise
        finding = Finding(False, f"{error.status_code}, {error.message}")
    except AimlErnieError as error:
        finding = Finding(None, error.message)
    works, note, message = finding
    metadata = {} if message is None else message.response_metadata
    if works is False and metadata.get("finish_reason") == "length":
        works, note = None, "the completion was truncated"
    if works is None:
        result = "failed"
    elif expected is None:
        result = "not in the profile"
    else:
        result = "ok" if works == expected else "differs"
    usd = parse_amount(metadata.get("usd_spent"))
    return Row(name, expected, works, usd, result, truncate(" ".join(note.split()), _MAX_NOTE))


def _format(row: Row) -> str:
    texts = {True: "yes", False: "no", None: "-"}
    result = f"{row.result}: {row.note}" if row.note else row.result
    return _line(row.capability, texts[row.profile], texts[row.server], format_usd(row.usd), result)


def _line(*cells: str) -> str:
    return "{:<16}{:<9}{:<8}{:<11}{}\n".format(*cells)
