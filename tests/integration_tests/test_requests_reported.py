"""Request bodies that users of comparable packages have reported as wrong."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    filter_messages,
)
from langchain_core.messages.tool import tool_call
from langchain_core.tools import tool

from langchain_aimlernie.errors import BadRequestError

CALLS = pytest.mark.parametrize("method", ["invoke", "ainvoke", "stream", "astream"])
TEXT_MODEL = "baidu/ernie-4.5-21b-a3b"
THINKING = "baidu/ernie-4.5-21b-a3b-thinking"
VISION = "baidu/ernie-4.5-vl-28b-a3b"
FIVE = "baidu/ernie-5.0"

PNG = "iVBORw0KGgoA"
IMAGE = {"type": "image", "base64": PNG, "mime_type": "image/png"}
PDF = {"type": "file", "base64": "JVBERi0x", "mime_type": "application/pdf"}
AUDIO = {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}
CACHE_CONTROL = {"type": "ephemeral"}


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return city


@tool
def now() -> str:
    """Tell the time."""
    return "now"


def text(value, **more):
    return {"type": "text", "text": value, **more}


def call(name="f", call_id="c1", **args):
    return tool_call(name=name, args=args, id=call_id)


def wire_call(name="f", call_id="c1", arguments="{}"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


async def call_model(llm, messages, method, **options):
    if method == "invoke":
        return llm.invoke(messages, **options)
    if method == "ainvoke":
        return await llm.ainvoke(messages, **options)
    if method == "stream":
        return list(llm.stream(messages, **options))
    return [chunk async for chunk in llm.astream(messages, **options)]


# `tool_calls` is authoritative

BLOCKS = {
    "anthropic": lambda n: {"type": "tool_use", "id": f"c{n}", "name": "f", "input": {}},
    "responses": lambda n: {
        "type": "function_call",
        "id": f"fc_{n}",
        "call_id": f"c{n}",
        "name": "f",
        "arguments": "{}",
    },
    "v1": lambda n: {"type": "tool_call", "id": f"c{n}", "name": "f", "args": {}},
    "none": lambda n: text(""),
}


def message_with_calls(provider):
    """An answer with two calls, which its content and `additional_kwargs` repeat."""
    block = BLOCKS[provider]
    return AIMessage(
        [text("I look."), block(1), block(2)],
        additional_kwargs={"tool_calls": [wire_call(), wire_call(call_id="c2")]},
        tool_calls=[call(), call(call_id="c2")],
    )


def filtered(turn):
    results = [ToolMessage("1", tool_call_id="c1"), ToolMessage("2", tool_call_id="c2")]
    return filter_messages([HumanMessage("a"), turn, *results], exclude_tool_calls=["c2"])


def updated(turn):
    turn = turn.model_copy(update={"tool_calls": turn.tool_calls[:1]})
    return [HumanMessage("a"), turn, ToolMessage("1", tool_call_id="c1")]


@pytest.mark.parametrize("remove", [filtered, updated])
@pytest.mark.parametrize("provider", BLOCKS)
def test_a_removed_call_is_not_sent(model, ernie_server, provider, remove):
    model().invoke(remove(message_with_calls(provider)))
    assert ernie_server.last_request.body["messages"][1:] == [
        {"role": "assistant", "content": "I look.", "tool_calls": [wire_call()]},
        {"role": "tool", "content": "1", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize("provider", BLOCKS)
def test_the_result_of_a_removed_call_becomes_a_user_message(model, ernie_server, provider):
    turn = message_with_calls(provider).model_copy(update={"tool_calls": []})
    model().invoke([HumanMessage("a"), turn, ToolMessage("1", tool_call_id="c1", name="f")])
    assert ernie_server.last_request.body["messages"][1:] == [
        {"role": "assistant", "content": "I look."},
        {"role": "user", "content": "[Result of the tool f]\n1"},
    ]


# Tools in other formats

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "Tell.", "parameters": PARAMETERS}
ANTHROPIC = {"name": "weather", "description": "Tell.", "input_schema": PARAMETERS}
TOOLS = {
    "Chat Completions": {"type": "function", "function": FUNCTION},
    "Responses": {"type": "function", **FUNCTION, "strict": None},
    "bare function": FUNCTION,
    "Anthropic": ANTHROPIC,
    "Anthropic custom": {"type": "custom", **ANTHROPIC},
    "any type with parameters": {"type": "anything", **FUNCTION},
    "MCP": {"name": "weather", "description": "Tell.", "inputSchema": PARAMETERS},
}


@pytest.mark.parametrize("bound", [True, False], ids=["bind_tools", "per call"])
@pytest.mark.parametrize("source", TOOLS.values(), ids=TOOLS)
def test_tools_of_any_provider_keep_their_parameters(model, ernie_server, source, bound):
    if bound:
        model().bind_tools([source]).invoke("hi")
    else:
        model().invoke("hi", tools=[source])
    assert ernie_server.last_request.body["tools"] == [{"type": "function", "function": FUNCTION}]


@pytest.mark.parametrize(
    "source",
    [
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "custom", "name": "code", "format": {"type": "text"}},
    ],
    ids=lambda source: source["type"],
)
def test_server_tools_of_other_providers_are_rejected(model, ernie_server, source):
    with pytest.raises(ValueError, match=source["type"]):
        model().bind_tools([weather, source])
    with pytest.raises(BadRequestError, match=source["type"]):
        model().invoke("hi", tools=[weather, source])
    assert ernie_server.requests == []


NAMED = {"type": "function", "function": {"name": "weather"}}
SOME = [{"type": "function", "name": "weather"}]
CHOICES = {
    "Anthropic's name": ({"type": "tool", "name": "weather"}, NAMED, ["weather", "now"]),
    "Anthropic's any": ({"type": "any"}, "required", ["weather", "now"]),
    "Responses' allowed": (
        {"type": "allowed_tools", "mode": "required", "tools": SOME},
        "required",
        ["weather"],
    ),
    "Chat Completions' allowed": (
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}},
        "auto",
        ["weather"],
    ),
    "Gemini's names": (["weather"], "required", ["weather"]),
}


@pytest.mark.parametrize("bound", [True, False], ids=["bind_tools", "per call"])
@pytest.mark.parametrize("case", CHOICES)
def test_tool_choice_of_any_provider_is_encoded(model, ernie_server, case, bound):
    choice, sent, names = CHOICES[case]
    if bound:
        model().bind_tools([weather, now], tool_choice=choice).invoke("hi")
    else:
        model().invoke("hi", tools=[weather, now], tool_choice=choice)
    body = ernie_server.last_request.body
    assert body["tool_choice"] == sent
    assert [each["function"]["name"] for each in body["tools"]] == names
    assert "parallel_tool_calls" not in body


def test_disable_parallel_tool_use_of_anthropic(model, ernie_server):
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    model().bind_tools([weather], tool_choice=choice).invoke("hi")
    assert ernie_server.last_request.body["parallel_tool_calls"] is False
    model().invoke("hi", tools=[weather], tool_choice=choice)
    assert ernie_server.last_request.body["parallel_tool_calls"] is False
    model().invoke("hi", tools=[weather], tool_choice=choice, parallel_tool_calls=True)
    assert ernie_server.last_request.body["parallel_tool_calls"] is True


def test_a_tool_choice_of_unknown_form_is_rejected_with_a_hint(model, ernie_server):
    for choice in ({"type": "web_search"}, {"type": "allowed_tools"}, [], 5):
        with pytest.raises(ValueError, match="Use 'auto', 'none', 'any', the name of a tool"):
            model().bind_tools([weather], tool_choice=choice)
        with pytest.raises(BadRequestError, match="Use 'auto', 'none', 'any', the name of a tool"):
            model().invoke("hi", tools=[weather], tool_choice=choice)
    assert ernie_server.requests == []


# Blocks in a `ToolMessage`, and media that the model does not take


def history(*blocks):
    """A thread whose user, instructions or tool showed something."""
    turn = AIMessage("", tool_calls=[call()])
    result = ToolMessage([text("a"), *blocks], tool_call_id="c1")
    return {
        "user": [HumanMessage([text("a"), *blocks])],
        "instructions": [SystemMessage([text("a"), *blocks]), HumanMessage("b")],
        "tool": [HumanMessage("b"), turn, result],
        "user in Anthropic's form": [
            HumanMessage("b"),
            turn,
            HumanMessage(
                [{"type": "tool_result", "tool_use_id": "c1", "content": [text("a"), *blocks]}]
            ),
        ],
    }


PLACES = pytest.mark.parametrize("place", history())
MEDIA = pytest.mark.parametrize(
    ("block", "name"),
    [
        (IMAGE, "image"),
        (PDF, "file"),
        (AUDIO, "audio"),
        ({"type": "image", "base64": PNG}, "image"),
        ({"type": "image", "file_id": "file-1"}, "image"),
    ],
    ids=["image", "file", "audio", "image without a format", "image by id"],
)


@PLACES
@MEDIA
def test_unsupported_media_raise_and_name_the_setting(model, ernie_server, place, block, name):
    with pytest.raises(BadRequestError) as caught:
        model().invoke(history(block)[place])
    for part in (f"'{name}'", 'on_unsupported_content="omit"', f"'[{name} omitted]'"):
        assert part in str(caught.value)
    assert ernie_server.requests == []


@PLACES
def test_unsupported_media_are_omitted_on_request(model, ernie_server, place):
    model(on_unsupported_content="omit").invoke(history(IMAGE, PDF, AUDIO)[place])
    sent = [each["content"] for each in ernie_server.last_request.body["messages"]]
    names = ("image", "file", "audio")
    if place == "user":
        assert sent == [[text("a"), *(text(f"[{name} omitted]") for name in names)]]
    elif place == "instructions":
        assert sent == ["a[image omitted][file omitted][audio omitted]", "b"]
    else:
        assert sent[-1] == "a\n[image omitted]\n[file omitted]\n[audio omitted]"
    assert ernie_server.violations == []


def test_on_unsupported_content_can_be_set_per_call_bound_and_changed(model, ernie_server):
    messages = history(IMAGE)["tool"]
    llm = model()
    llm.invoke(messages, on_unsupported_content="omit")
    llm.bind(on_unsupported_content="omit").invoke(messages)
    llm.model_copy(update={"on_unsupported_content": "omit"}).invoke(messages)
    assert len(ernie_server.requests) == 3
    with pytest.raises(BadRequestError, match="does not take"):
        llm.invoke(messages)
    with pytest.raises(ValueError, match="on_unsupported_content"):
        model(on_unsupported_content="drop")
    with pytest.raises(BadRequestError, match="on_unsupported_content"):
        llm.invoke(messages, on_unsupported_content="drop")


def test_supported_media_are_not_omitted(model, ernie_server):
    llm = model(model=VISION, on_unsupported_content="omit")
    llm.invoke(history(IMAGE, AUDIO)["tool"])
    *_, result, shown = ernie_server.last_request.body["messages"]
    assert result["content"].splitlines()[:2] == ["a", "[audio omitted]"]
    assert [part["type"] for part in shown["content"]] == ["text", "image_url"]


# `cache_control`


def test_cache_control_of_media(model, ernie_server):
    v0 = {"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"}
    blocks = [{**block, "cache_control": CACHE_CONTROL} for block in (IMAGE, v0, PDF)]
    model(model=FIVE).invoke([HumanMessage(blocks)])
    (message,) = ernie_server.last_request.body["messages"]
    assert [part["cache_control"] for part in message["content"]] == [CACHE_CONTROL] * 3
    model(model=VISION).invoke([HumanMessage(blocks)])
    assert "cache_control" not in str(ernie_server.last_request.body)


def test_cache_control_of_tools(model, ernie_server):
    cached_tool = {**ANTHROPIC, "cache_control": CACHE_CONTROL}
    encoded = {"type": "function", "function": FUNCTION}
    model(model=FIVE).bind_tools([cached_tool, now]).invoke("hi")
    first, second = ernie_server.last_request.body["tools"]
    assert first == {**encoded, "cache_control": CACHE_CONTROL}
    assert "cache_control" not in second
    model().bind_tools([cached_tool]).invoke("hi")
    assert ernie_server.last_request.body["tools"] == [encoded]


# Blocks that core itself fails on

INCOMPLETE = {
    "v0 text": ({"type": "file", "source_type": "text", "text": "hi"}, "hi"),
    "v0 text with a name": (
        {
            "type": "file",
            "source_type": "text",
            "text": "hi",
            "mime_type": "text/plain",
            "metadata": {"filename": "a.txt"},
        },
        "a.txt\nhi",
    ),
    "v0 text under its old key": ({"type": "file", "source_type": "text", "url": "hi"}, "hi"),
    "v0 image without a format": (
        {"type": "image", "source_type": "base64", "data": PNG},
        [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}],
    ),
    "v0 image with an id": (
        {"type": "image", "source_type": "url", "url": "https://e.com/a.png", "id": "block-1"},
        [{"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}],
    ),
    "image that is a text": ({"type": "image", "mime_type": "text/plain", "text": "hi"}, "hi"),
    "v1 image without a format": (
        {"type": "image", "base64": PNG},
        [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}],
    ),
}


@CALLS
@pytest.mark.parametrize(("block", "sent"), INCOMPLETE.values(), ids=INCOMPLETE)
async def test_blocks_that_core_cannot_read_are_sent(model, ernie_server, block, sent, method):
    message = HumanMessage([block])
    before = copy.deepcopy(message)
    await call_model(model(model=VISION), [message], method)
    assert ernie_server.last_request.body["messages"] == [{"role": "user", "content": sent}]
    assert message == before


async def test_blocks_that_core_cannot_read_are_sent_by_generate_and_batch(model, ernie_server):
    message = HumanMessage([INCOMPLETE["v0 text"][0]])
    model().generate([[message]])
    await model().agenerate([[message]])
    model().batch([[message]])
    for request in ernie_server.requests:
        assert request.body["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("kind", ["tool", "user"])
def test_blocks_that_core_cannot_read_are_sent_in_tool_results(model, ernie_server, kind):
    block = {"type": "file", "source_type": "text", "text": "hi"}
    model().invoke(history(block)["tool" if kind == "tool" else "user in Anthropic's form"])
    assert ernie_server.last_request.body["messages"][-1]["content"] == "a\nhi"


EMPTY_BLOCKS = {
    "v0 file without data": ({"type": "file", "source_type": "base64"}, "has neither data"),
    "v0 image without an address": ({"type": "image", "source_type": "url"}, "has neither data"),
    "v0 image by id": (
        {"type": "image", "source_type": "id", "id": "file-1"},
        "has only a file id, which cannot be sent",
    ),
    "v1 image by id": ({"type": "image", "file_id": "file-1"}, "a file id, which cannot be sent"),
    "type that is a list": ({"type": ["image"]}, "is not supported"),
}


@CALLS
@pytest.mark.parametrize(("block", "why"), EMPTY_BLOCKS.values(), ids=EMPTY_BLOCKS)
async def test_blocks_without_content_raise_bad_request(model, ernie_server, block, why, method):
    with pytest.raises(BadRequestError, match=why):
        await call_model(model(model=VISION), [HumanMessage([block])], method)
    assert ernie_server.requests == []


# The API's own limits

LIMITED_FIELDS = {
    "enable_thinking": (TEXT_MODEL, False),
    "thinking_budget": (TEXT_MODEL, 200),
    "provider": (TEXT_MODEL, "auto"),
    "normalize_tool_schemas": (TEXT_MODEL, True),
    "prediction": (FIVE, {"type": "content", "content": "x"}),
    "max_completion_tokens": (FIVE, 9),
}


@pytest.mark.parametrize("field", LIMITED_FIELDS)
def test_self_hosted_servers_get_every_field(model, ernie_server, field):
    name, value = LIMITED_FIELDS[field]
    model(model=name).invoke("hi", **{field: value})
    assert ernie_server.last_request.body[field] == value


@pytest.mark.parametrize("field", [field for field in LIMITED_FIELDS if "max_" not in field])
def test_the_api_rejects_fields_of_other_models(api_model, ernie_server, field):
    name, value = LIMITED_FIELDS[field]
    with pytest.raises(BadRequestError, match=rf"{name} does not take {field}"):
        api_model(model=name).invoke("hi", **{field: value})
    assert ernie_server.requests == []


def test_n_is_for_self_hosted_servers(model, api_model, ernie_server):
    ernie_server.reply("a")
    with pytest.warns(UserWarning, match="'n' is no setting"):
        model().generate([[HumanMessage("hi")]], n=2)
    assert ernie_server.last_request.body["n"] == 2
    with (
        pytest.warns(UserWarning, match="'n' is no setting"),
        pytest.raises(BadRequestError, match="n must be 1"),
    ):
        api_model().invoke("hi", n=2)


@pytest.mark.parametrize(("choice", "sent"), [("any", "required"), ("weather", NAMED)])
def test_self_hosted_servers_get_a_forced_choice(model, ernie_server, choice, sent):
    model(model=THINKING).bind_tools([weather], tool_choice=choice).invoke("hi")
    assert ernie_server.last_request.body["tool_choice"] == sent


WARNING = 'tool_choice is sent as "auto"'


@CALLS
async def test_a_forced_choice_becomes_auto_with_one_warning(api_model, ernie_server, method):
    llm = api_model(model=THINKING)
    bound = llm.bind_tools([weather], tool_choice="any")
    with pytest.warns(UserWarning, match=WARNING):
        await call_model(bound, "hi", method)
    await call_model(bound, "hi", method)
    await call_model(llm.bind_tools([weather], tool_choice="weather"), "hi", method)
    assert [each.body["tool_choice"] for each in ernie_server.requests] == ["auto"] * 3
    with pytest.warns(UserWarning, match=WARNING):  # another instance
        await call_model(
            api_model(model=THINKING).bind_tools([weather], tool_choice="any"), "hi", method
        )


def test_there_is_one_warning_for_calls_with_overrides(api_model, ernie_server):
    llm = api_model(model=THINKING)
    bound = llm.bind(tools=[weather], tool_choice="any", max_retries=0, timeout=30)
    with pytest.warns(UserWarning, match=WARNING):
        bound.invoke("hi")
    bound.invoke("hi")
    bound.bind(stream_usage=False).invoke("hi")
    llm.invoke("hi", tools=[weather], tool_choice="any", client_request_id="mine")
    llm.temperature = 0.5
    llm.invoke("hi", tools=[weather], tool_choice="any")
    assert len(ernie_server.requests) == 5


def test_there_is_one_warning_across_threads(api_model, ernie_server):
    llm = api_model(model=THINKING)
    bound = llm.bind(tools=[weather], tool_choice="any", max_retries=0)
    start = threading.Barrier(8)

    def call_together(_):
        start.wait()
        return bound.invoke("hi")

    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("always")
        assert len(list(pool.map(call_together, range(8)))) == 8
    assert [str(each.message) for each in caught if WARNING in str(each.message)] != []
    assert len(caught) == 1


def test_a_warning_does_not_change_the_model(api_model, ernie_server):
    llm, untouched = api_model(model=THINKING), api_model(model=THINKING)
    clients = ("http_client", "http_async_client")
    fresh = untouched.model_copy(update={name: getattr(llm, name) for name in clients})
    with pytest.warns(UserWarning, match=WARNING):
        llm.invoke("hi", tools=[weather], tool_choice="any")
    assert llm == fresh
    assert repr(llm) == repr(fresh)
    assert dumps(llm) == dumps(fresh)
    assert llm.model_dump() == fresh.model_dump()
    assert llm._get_llm_string() == fresh._get_llm_string()
    without_clients = llm.model_copy(update=dict.fromkeys(clients))
    for other in (llm.model_copy(), pickle.loads(pickle.dumps(without_clients))):
        with pytest.warns(UserWarning, match="anew"):
            other.warn_once("tool_choice", "anew")


def test_a_forced_choice_is_sent_if_thinking_is_disabled(api_model, ernie_server):
    llm = api_model(model=FIVE, enable_thinking=False)
    llm.bind_tools([weather], tool_choice="any").invoke("hi")
    assert ernie_server.last_request.body["tool_choice"] == "required"
    with pytest.warns(UserWarning, match="enable_thinking=False to force a call"):
        api_model(model=FIVE).bind_tools([weather], tool_choice="any").invoke("hi")


def test_each_field_that_is_left_out_has_its_own_warning(api_model, ernie_server):
    llm = api_model(model=THINKING)
    tools = [{**ANTHROPIC, "cache_control": CACHE_CONTROL}]
    cached = [HumanMessage([text("a", cache_control=CACHE_CONTROL)])]
    with pytest.warns(UserWarning, match="is ") as caught:
        llm.invoke(cached, tools=tools, tool_choice="any")
    assert sorted(str(each.message).split(" is ")[0] for each in caught) == [
        "cache_control",
        "tool_choice",
    ]
    llm.invoke(cached, tools=tools, tool_choice="any")
    with pytest.warns(UserWarning, match="max_completion_tokens=9 is not sent"):
        api_model(model=FIVE).invoke("hi", max_tokens=5, max_completion_tokens=9)
    assert ernie_server.last_request.body["max_tokens"] == 5
    api_model(model=FIVE).invoke("hi", max_completion_tokens=9)
    assert ernie_server.last_request.body["max_tokens"] == 9
    assert ernie_server.last_request.ignored == []
