"""What a request to `POST /v1/chat/completions` may hold, model by model.

Written anew from the published reference of the four ERNIE models that have one,
https://docs.aimlapi.com/api-references/text-models-llm/baidu: the schema of each, the limits that
only its prose names (4 stops, 128 tools, names of functions), and with `conversation` what any
server has to ask of a dialogue. Where the schema lets unknown keys in, the API drops them: see
`ignored_fields`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from langchain_aimlernie.testing.catalogue import BY_NAME, Family
from langchain_aimlernie.testing.conversation import conversation
from langchain_aimlernie.testing.rules import (
    Finding,
    Findings,
    Rule,
    array,
    boolean,
    by_kind,
    mapping,
    matching,
    null,
    nullable,
    number,
    one_of,
    record,
    string,
    tagged,
)

MAX_STOPS = 4
MAX_TOOLS = 128

_name = matching(r"[A-Za-z0-9_-]{1,64}", "1-64 of a-z A-Z 0-9 _ -")
_cache_control = record(
    {"type": one_of("ephemeral"), "ttl": one_of("5m", "1h")}, required=("type",)
)
_DATA_URL = re.compile(r"data:image/[a-z.+-]+;base64,(?=[A-Za-z0-9+/])", re.IGNORECASE)


def _image_url(value: object) -> Findings:
    """A URI: http(s), or a data URL with an image in base64. ernie-5.0 takes any string."""
    if not isinstance(value, str):
        return string(value)
    if re.match(r"https?://[^\s/]", value):
        return ()
    start = _DATA_URL.match(value)
    if start is None:
        return (Finding((), f"{value[:40]!r} is neither an http(s) URL nor a base64 data URL"),)
    try:
        base64.b64decode(value[start.end() :], validate=True)
    except binascii.Error as error:
        return (Finding((), f"not base64: {error}"),)
    return ()


def _part(kind: str, *, five: bool, **fields: Rule) -> Rule:
    """A content part of this type; ernie-5.0 also takes a `cache_control` on each."""
    more = {"cache_control": _cache_control} if five else {}
    return record({"type": one_of(kind), **fields, **more}, required=("type", *fields))


def _user_parts(*, media: bool, five: bool) -> Rule:
    cases = {"text": _part("text", five=five, text=string)}
    if media:
        image = {"url": string if five else _image_url, "detail": one_of("low", "high", "auto")}
        file = {"file_data": string, "filename": string} | ({"file_id": string} if five else {})
        cases["image_url"] = _part(
            "image_url", five=five, image_url=record(image, required=("url",))
        )
        cases["file"] = _part("file", five=five, file=record(file))
    return array(tagged("type", cases))


def _text_parts(*, five: bool) -> Rule:
    return array(tagged("type", {"text": _part("text", five=five, text=string)}))


def _tool_calls(*, five: bool) -> Rule:
    function = record({"name": string, "arguments": string}, required=("name", "arguments"))
    custom = record({"name": string, "input": string}, required=("name", "input"))
    more: dict[str, Rule] = {"extra_content": mapping} if five else {}
    kinds = {"function": function, "custom": custom} if five else {"function": function}
    return array(
        tagged(
            "type",
            {
                kind: record(
                    {"id": string, "type": string, kind: body, **more},
                    required=("id", "type", kind),
                )
                for kind, body in kinds.items()
            },
        )
    )


def _message(content: Rule, *needed: str, closed: bool = False, **more: Rule) -> Rule:
    fields: dict[str, Rule] = {"role": string, "content": content, "name": string}
    return record(fields | more, required=needed, closed=closed)


def _tool_message(content: Rule, *, closed: bool) -> Rule:
    return _message(
        content,
        "content",
        "tool_call_id",
        closed=closed,
        tool_call_id=string,
        name=nullable(string),
    )


def _messages(*, media: bool) -> Rule:
    """The messages of the 4.5 family: no null, tool results as strings, two closed roles."""
    text = by_kind(string=string, array=_text_parts(five=False))
    user = by_kind(string=string, array=_user_parts(media=media, five=False))
    said = {
        "text": _part("text", five=False, text=string),
        "refusal": _part("refusal", five=False, refusal=string),
    }
    roles = {
        "user": _message(user, "content"),
        "system": _message(text, "content", closed=True),
        "tool": _tool_message(string, closed=True),
        "assistant": _message(
            by_kind(string=string, array=array(tagged("type", said))),
            tool_calls=_tool_calls(five=False),
            refusal=nullable(string),
        ),
    }
    return array(tagged("role", roles), least=1)


def _messages_five() -> Rule:
    """The messages of ernie-5.0: developer, null for an assistant, text parts for a tool."""
    text = by_kind(string=string, array=_text_parts(five=True))
    roles = {
        "user": _message(
            by_kind(string=string, array=_user_parts(media=True, five=True)), "content"
        ),
        "developer": _message(text, "content"),
        "system": _message(text, "content"),
        "tool": _tool_message(text, closed=False),
        "assistant": _message(
            by_kind(string=string, array=_text_parts(five=True), null=null),
            tool_calls=_tool_calls(five=True),
            refusal=nullable(string),
        ),
    }
    return array(tagged("role", roles), least=1)


_FUNCTION: Mapping[str, Rule] = {
    "name": _name,
    "description": string,
    "parameters": mapping,
    "strict": nullable(boolean),
}
_GRAMMAR = record(
    {"definition": string, "syntax": one_of("lark", "regex")}, required=("definition", "syntax")
)
_CUSTOM_FORMAT = tagged(
    "type",
    {
        "text": record({"type": string}),
        "grammar": record({"type": string, "grammar": _GRAMMAR}, required=("grammar",)),
    },
)
_CUSTOM = record(
    {"name": string, "description": string, "format": _CUSTOM_FORMAT}, required=("name", "format")
)


def _tool() -> Rule:
    function = record(_FUNCTION, required=("name", "parameters"), closed=True)
    tool = record(
        {"type": string, "function": function}, required=("type", "function"), closed=True
    )
    return tagged("type", {"function": tool})


def _tool_five() -> Rule:
    """Functions, whose parameters may be left out, custom tools, and whatever else has a type."""

    def named(kind: str, body: Rule) -> Rule:
        fields = {"type": string, kind: body, "cache_control": _cache_control}
        return record(fields, required=(kind,))

    function = named("function", record(_FUNCTION, required=("name",)))
    other = record({"type": matching(r"(?s).+", "a type")})
    return tagged(
        "type", {"function": function, "custom": named("custom", _CUSTOM)}, otherwise=other
    )


_CHOSEN = record(
    {"type": string, "function": record({"name": string}, required=("name",))},
    required=("function",),
)
_ALLOWED = record(
    {
        "type": string,
        "allowed_tools": record(
            {"mode": one_of("auto", "required"), "tools": array(mapping)},
            required=("mode", "tools"),
        ),
    },
    required=("allowed_tools",),
)


def _tool_choice(**objects: Rule) -> Rule:
    return by_kind(string=one_of("none", "auto", "required"), object=tagged("type", objects))


_json_schema = record(
    {"name": _name, "schema": mapping, "strict": nullable(boolean), "description": string},
    required=("name",),
    closed=True,
)
_response_format = tagged(
    "type",
    {
        "text": record({"type": string}, closed=True),
        "json_object": record({"type": string}, closed=True),
        "json_schema": record(
            {"type": string, "json_schema": _json_schema}, required=("json_schema",), closed=True
        ),
    },
)
_SAMPLING: dict[str, Rule] = {
    "model": string,
    "max_tokens": number(1),
    "stream": boolean,
    "stream_options": record({"include_usage": boolean}, required=("include_usage",)),
    "parallel_tool_calls": boolean,
    "temperature": number(0, 2),
    "top_p": number(0.01, 1),
    "stop": by_kind(string=string, array=array(string, most=MAX_STOPS), null=null),
    "frequency_penalty": nullable(number(-2, 2)),
    "presence_penalty": nullable(number(-2, 2)),
    "seed": number(1, whole=True),
    "response_format": _response_format,
}
_prediction = record(
    {
        "type": one_of("content"),
        "content": by_kind(string=string, array=_text_parts(five=False)),
    },
    required=("type", "content"),
)


def _body(fields: dict[str, Rule]) -> Rule:
    return record(_SAMPLING | fields, required=("model", "messages"))


def _four(*, media: bool = False, **more: Rule) -> Rule:
    fields = {
        "messages": _messages(media=media),
        "tools": array(_tool(), most=MAX_TOOLS),
        "tool_choice": _tool_choice(function=_CHOSEN),
        "max_completion_tokens": number(1, whole=True),
        "prediction": _prediction,
    }
    return _body(fields | more)


_BODIES: Mapping[Family, Rule] = {
    "text": _four(),
    "thinking": _four(provider=string),
    "vision": _four(media=True),
    "five": _body(
        {
            "messages": _messages_five(),
            "tools": array(_tool_five(), most=MAX_TOOLS),
            "tool_choice": _tool_choice(function=_CHOSEN, allowed_tools=_ALLOWED),
            "provider": string,
            "normalize_tool_schemas": boolean,
            "enable_thinking": boolean,
            "thinking_budget": number(100, whole=True),
        }
    ),
}


def findings(body: Mapping[str, Any], family: Family) -> list[Finding]:
    """All that is wrong with `body`, and the keys in it that the API would ignore."""
    return [*_BODIES[family](body), *conversation(body)]


def validate_request(body: Mapping[str, Any]) -> list[str]:
    """What is wrong with a request body, one line each; nothing if the API would take it.

    Args:
        body: The parsed body of a `POST /v1/chat/completions`. Its `model` says which schema holds.
    """
    model = BY_NAME.get(str(body.get("model")))
    if model is None:
        return [f"model: {body.get('model')!r:.80} is not served"]
    return [str(each) for each in findings(body, model.family) if not each.ignored]


def ignored_fields(body: Mapping[str, Any]) -> list[str]:
    """The paths of keys that the schema of the body's model does not know: sent for nothing."""
    model = BY_NAME.get(str(body.get("model")))
    found = findings(body, model.family) if model else []
    return [".".join(map(str, each.path)) for each in found if each.ignored]
