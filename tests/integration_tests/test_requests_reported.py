"""Requests that users of comparable packages have reported wrong: the body that the server gets."""

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
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    filter_messages,
)
from langchain_core.messages.tool import tool_call
from langchain_core.tools import tool

from langchain_aimlernie.errors import BadRequestError

WAYS = pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
TEXT_MODEL = "baidu/ernie-4.5-21b-a3b"
THINKING = "baidu/ernie-4.5-21b-a3b-thinking"
VISION = "baidu/ernie-4.5-vl-28b-a3b"
FIVE = "baidu/ernie-5.0"

PNG = "iVBORw0KGgoA"
IMAGE = {"type": "image", "base64": PNG, "mime_type": "image/png"}
PDF = {"type": "file", "base64": "JVBERi0x", "mime_type": "application/pdf"}
AUDIO = {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}
MARK = {"type": "ephemeral"}


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return city


@tool
def now() -> str:
    """Tell the time."""
    return "now"


def text(words, **more):
    return {"type": "text", "text": words, **more}


def call(name="f", call_id="c1", **args):
    return tool_call(name=name, args=args, id=call_id)


def wire_call(name="f", call_id="c1", arguments="{}"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


async def ask(llm, messages, way, **options):
    if way == "invoke":
        return llm.invoke(messages, **options)
    if way == "ainvoke":
        return await llm.ainvoke(messages, **options)
    if way == "stream":
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


def turn_of(dialect):
    """An answer with two calls, which its content and `additional_kwargs` repeat."""
    block = BLOCKS[dialect]
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


@WAYS
@pytest.mark.parametrize("remove", [filtered, updated])
@pytest.mark.parametrize("dialect", BLOCKS)
async def test_a_removed_call_is_not_sent(model, ernie_server, dialect, remove, way):
    await ask(model(), remove(turn_of(dialect)), way)
    assert ernie_server.last_request.body["messages"][1:] == [
        {"role": "assistant", "content": "I look.", "tool_calls": [wire_call()]},
        {"role": "tool", "content": "1", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize("dialect", BLOCKS)
def test_the_result_of_a_removed_call_is_told_by_the_user(model, ernie_server, dialect):
    turn = turn_of(dialect).model_copy(update={"tool_calls": []})
    model().invoke([HumanMessage("a"), turn, ToolMessage("1", tool_call_id="c1", name="f")])
    assert ernie_server.last_request.body["messages"][1:] == [
        {"role": "assistant", "content": "I look."},
        {"role": "user", "content": "[Result of the tool f]\n1"},
    ]


def test_a_legacy_function_call_goes_with_its_result(model, ernie_server):
    legacy = {"function_call": {"name": "f", "arguments": '{"a": 1}'}}
    turn = AIMessage("", additional_kwargs=legacy)
    model().invoke([HumanMessage("a"), turn, FunctionMessage("1", name="f")])
    _, called, result = ernie_server.last_request.body["messages"]
    assert called["tool_calls"] == [wire_call(call_id="call_2_0", arguments='{"a": 1}')]
    assert result["tool_call_id"] == "call_2_0"


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
@pytest.mark.parametrize("given", TOOLS.values(), ids=TOOLS)
def test_a_tool_in_any_dialect_keeps_its_parameters(model, ernie_server, given, bound):
    if bound:
        model().bind_tools([given]).invoke("hi")
    else:
        model().invoke("hi", tools=[given])
    assert ernie_server.last_request.body["tools"] == [{"type": "function", "function": FUNCTION}]


@pytest.mark.parametrize(
    "given",
    [
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "custom", "name": "code", "format": {"type": "text"}},
    ],
    ids=lambda given: given["type"],
)
def test_a_tool_of_another_providers_servers_is_refused_by_its_type(model, ernie_server, given):
    with pytest.raises(ValueError, match=given["type"]):
        model().bind_tools([weather, given])
    with pytest.raises(BadRequestError, match=given["type"]):
        model().invoke("hi", tools=[weather, given])
    assert ernie_server.requests == []


NAMED = {"type": "function", "function": {"name": "weather"}}
SOME = [{"type": "function", "name": "weather"}]
CHOICES = {
    "Anthropic's name": ({"type": "tool", "name": "weather"}, NAMED, ["weather", "now"]),
    "Anthropic's any": ({"type": "any"}, "required", ["weather", "now"]),
    "Bedrock's name": ({"tool": {"name": "weather"}}, NAMED, ["weather", "now"]),
    "Responses' name": ({"type": "function", "name": "weather"}, NAMED, ["weather", "now"]),
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
def test_tool_choice_in_any_dialect_is_sent_as_the_api_has_it(model, ernie_server, case, bound):
    choice, sent, names = CHOICES[case]
    if bound:
        model().bind_tools([weather, now], tool_choice=choice).invoke("hi")
    else:
        model().invoke("hi", tools=[weather, now], tool_choice=choice)
    body = ernie_server.last_request.body
    assert body["tool_choice"] == sent
    assert [each["function"]["name"] for each in body["tools"]] == names
    assert "parallel_tool_calls" not in body


def test_anthropics_word_against_parallel_calls_is_kept(model, ernie_server):
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    model().bind_tools([weather], tool_choice=choice).invoke("hi")
    assert ernie_server.last_request.body["parallel_tool_calls"] is False
    model().invoke("hi", tools=[weather], tool_choice=choice)
    assert ernie_server.last_request.body["parallel_tool_calls"] is False
    model().invoke("hi", tools=[weather], tool_choice=choice, parallel_tool_calls=True)
    assert ernie_server.last_request.body["parallel_tool_calls"] is True


def test_a_choice_of_unknown_form_says_what_to_write(model, ernie_server):
    for choice in ({"type": "web_search"}, {"type": "allowed_tools"}, [], 5):
        with pytest.raises(ValueError, match="Use 'auto', 'none', 'any', the name of a tool"):
            model().bind_tools([weather], tool_choice=choice)
        with pytest.raises(BadRequestError, match="Use 'auto', 'none', 'any', the name of a tool"):
            model().invoke("hi", tools=[weather], tool_choice=choice)
    assert ernie_server.requests == []


# Blocks in a `ToolMessage`, and media that the model does not take

RESULTS = {
    "thoughts and calls of an agent": (
        [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "reasoning", "reasoning": "hm"},
            text("Sun."),
            {"type": "tool_use", "id": "t", "name": "g", "input": {}},
            {"type": "tool_call", "id": "t", "name": "g", "args": {}},
        ],
        "Sun.",
    ),
    "nothing else": ([{"type": "thinking", "thinking": "hm"}], ""),
    "data with the same words": (
        [{"type": "function", "name": "g"}, {"reasoning": "why"}],
        '[{"type": "function", "name": "g"}, {"reasoning": "why"}]',
    ),
}


@WAYS
@pytest.mark.parametrize(("content", "sent"), RESULTS.values(), ids=RESULTS)
async def test_a_tools_result_has_no_thoughts_of_an_agent(model, ernie_server, content, sent, way):
    turn = AIMessage("", tool_calls=[call()])
    await ask(model(), [HumanMessage("a"), turn, ToolMessage(content, tool_call_id="c1")], way)
    assert ernie_server.last_request.body["messages"][-1]["content"] == sent


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
def test_a_medium_is_an_error_that_names_the_setting(model, ernie_server, place, block, name):
    with pytest.raises(BadRequestError) as caught:
        model().invoke(history(block)[place])
    for part in (f"'{name}'", 'on_unsupported_content="omit"', f"'[{name} omitted]'"):
        assert part in str(caught.value)
    assert ernie_server.requests == []


@WAYS
@PLACES
async def test_a_medium_is_omitted_on_request(model, ernie_server, place, way):
    llm = model(on_unsupported_content="omit")
    await ask(llm, history(IMAGE, PDF, AUDIO)[place], way)
    sent = [each["content"] for each in ernie_server.last_request.body["messages"]]
    names = ("image", "file", "audio")
    if place == "user":
        assert sent == [[text("a"), *(text(f"[{name} omitted]") for name in names)]]
    elif place == "instructions":
        assert sent == ["a[image omitted][file omitted][audio omitted]", "b"]
    else:
        assert sent[-1] == "a\n[image omitted]\n[file omitted]\n[audio omitted]"
    assert ernie_server.violations == []


def test_the_setting_can_be_given_per_call_bound_and_changed(model, ernie_server):
    asked = history(IMAGE)["tool"]
    llm = model()
    llm.invoke(asked, on_unsupported_content="omit")
    llm.bind(on_unsupported_content="omit").invoke(asked)
    llm.model_copy(update={"on_unsupported_content": "omit"}).invoke(asked)
    assert len(ernie_server.requests) == 3
    with pytest.raises(BadRequestError, match="does not take"):
        llm.invoke(asked)
    with pytest.raises(ValueError, match="on_unsupported_content"):
        model(on_unsupported_content="drop")
    with pytest.raises(BadRequestError, match="on_unsupported_content"):
        llm.invoke(asked, on_unsupported_content="drop")


@PLACES
def test_so_is_an_image_by_id_though_the_model_sees(model, ernie_server, place):
    llm = model(model=VISION, on_unsupported_content="omit")
    llm.invoke(history({"type": "image", "file_id": "file-1"})[place])
    sent = ernie_server.last_request.body["messages"]
    assert "[image omitted]" in str(sent)
    assert "file-1" not in str(sent)


def test_what_the_model_takes_is_not_omitted(model, ernie_server):
    llm = model(model=VISION, on_unsupported_content="omit")
    llm.invoke(history(IMAGE, AUDIO)["tool"])
    *_, result, shown = ernie_server.last_request.body["messages"]
    assert result["content"].splitlines()[:2] == ["a", "[audio omitted]"]
    assert [part["type"] for part in shown["content"]] == ["text", "image_url"]


# `cache_control`

TURN = [HumanMessage("a"), AIMessage("", tool_calls=[call()])]
CACHED = {
    "system": [SystemMessage([text("a"), text("b", cache_control=MARK)]), HumanMessage("c")],
    "user": [HumanMessage([text("a", cache_control=MARK), text("b")])],
    "user's only text": [HumanMessage([text("a", cache_control=MARK)])],
    "v1": [HumanMessage([text("a", extras={"cache_control": MARK})])],
    "assistant": [HumanMessage("a"), AIMessage([text("b", cache_control=MARK)])],
    "developer": [ChatMessage([text("a", cache_control=MARK)], role="developer")],
    "result": [*TURN, ToolMessage([text("b", cache_control=MARK)], tool_call_id="c1")],
}


@WAYS
@pytest.mark.parametrize("messages", CACHED.values(), ids=CACHED)
async def test_a_mark_for_the_prompt_cache_goes_to_5_0_only(model, ernie_server, messages, way):
    await ask(model(model=FIVE), messages, way)
    parts = [
        part
        for message in ernie_server.last_request.body["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
    ]
    assert [part["cache_control"] for part in parts if "cache_control" in part] == [MARK]
    assert ernie_server.last_request.ignored == []
    await ask(model(), messages, way)
    assert "cache_control" not in str(ernie_server.last_request.body)
    assert ernie_server.last_request.ignored == []


def test_media_are_marked_too(model, ernie_server):
    v0 = {"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"}
    blocks = [{**block, "cache_control": MARK} for block in (IMAGE, v0, PDF)]
    model(model=FIVE).invoke([HumanMessage(blocks)])
    (message,) = ernie_server.last_request.body["messages"]
    assert [part["cache_control"] for part in message["content"]] == [MARK] * 3
    model(model=VISION).invoke([HumanMessage(blocks)])
    assert "cache_control" not in str(ernie_server.last_request.body)


def test_tools_are_marked_too(model, ernie_server):
    marked = {**ANTHROPIC, "cache_control": MARK}
    encoded = {"type": "function", "function": FUNCTION}
    model(model=FIVE).bind_tools([marked, now]).invoke("hi")
    first, second = ernie_server.last_request.body["tools"]
    assert first == {**encoded, "cache_control": MARK}
    assert "cache_control" not in second
    model().bind_tools([marked]).invoke("hi")
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


@WAYS
@pytest.mark.parametrize(("block", "sent"), INCOMPLETE.values(), ids=INCOMPLETE)
async def test_a_block_that_lacks_a_key_is_sent(model, ernie_server, block, sent, way):
    message = HumanMessage([block])
    before = copy.deepcopy(message)
    await ask(model(model=VISION), [message], way)
    assert ernie_server.last_request.body["messages"] == [{"role": "user", "content": sent}]
    assert message == before


async def test_so_it_is_by_core_s_own_hooks(model, ernie_server):
    message = HumanMessage([INCOMPLETE["v0 text"][0]])
    model().generate([[message]])
    await model().agenerate([[message]])
    model().batch([[message]])
    for request in ernie_server.requests:
        assert request.body["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("kind", ["tool", "user"])
def test_so_it_is_in_a_tools_result(model, ernie_server, kind):
    block = {"type": "file", "source_type": "text", "text": "hi"}
    model().invoke(history(block)["tool" if kind == "tool" else "user in Anthropic's form"])
    assert ernie_server.last_request.body["messages"][-1]["content"] == "a\nhi"


UNUSABLE = {
    "v0 file without data": ({"type": "file", "source_type": "base64"}, "has neither data"),
    "v0 image without an address": ({"type": "image", "source_type": "url"}, "has neither data"),
    "v0 image by id": (
        {"type": "image", "source_type": "id", "id": "file-1"},
        "has only a file id, which cannot be sent",
    ),
    "v1 image by id": ({"type": "image", "file_id": "file-1"}, "a file id, which cannot be sent"),
    "type that is a list": ({"type": ["image"]}, "is not supported"),
}


@WAYS
@pytest.mark.parametrize(("block", "why"), UNUSABLE.values(), ids=UNUSABLE)
async def test_a_block_that_holds_nothing_is_an_error_of_ours(model, ernie_server, block, why, way):
    with pytest.raises(BadRequestError, match=why):
        await ask(model(model=VISION), [HumanMessage([block])], way)
    assert ernie_server.requests == []


# The API's own limits

OWN_FIELDS = {
    "enable_thinking": (TEXT_MODEL, False),
    "thinking_budget": (TEXT_MODEL, 200),
    "provider": (TEXT_MODEL, "auto"),
    "normalize_tool_schemas": (TEXT_MODEL, True),
    "prediction": (FIVE, {"type": "content", "content": "x"}),
    "max_completion_tokens": (FIVE, 9),
}


@WAYS
@pytest.mark.parametrize("field", OWN_FIELDS)
async def test_another_server_gets_every_field(model, ernie_server, field, way):
    name, value = OWN_FIELDS[field]
    await ask(model(model=name), "hi", way, **{field: value})
    assert ernie_server.last_request.body[field] == value


@pytest.mark.parametrize("field", [field for field in OWN_FIELDS if "max_" not in field])
def test_the_api_does_not(api_model, ernie_server, field):
    name, value = OWN_FIELDS[field]
    with pytest.raises(BadRequestError, match=rf"{name} does not take {field}"):
        api_model(model=name).invoke("hi", **{field: value})
    assert ernie_server.requests == []


def test_several_choices_are_for_other_servers(model, api_model, ernie_server):
    ernie_server.reply("a")
    with pytest.warns(UserWarning, match="'n' is no setting"):
        model().generate([[HumanMessage("hi")]], n=2)
    assert ernie_server.last_request.body["n"] == 2
    with (
        pytest.warns(UserWarning, match="'n' is no setting"),
        pytest.raises(BadRequestError, match="one choice a call"),
    ):
        api_model().invoke("hi", n=2)


@WAYS
@pytest.mark.parametrize(("choice", "sent"), [("any", "required"), ("weather", NAMED)])
async def test_another_server_gets_a_forced_choice_as_it_is(model, ernie_server, choice, sent, way):
    llm = model(model=THINKING).bind_tools([weather], tool_choice=choice)
    await ask(llm, "hi", way)
    assert ernie_server.last_request.body["tool_choice"] == sent


WARNING = 'tool_choice is sent as "auto"'


@WAYS
async def test_the_api_leaves_a_thinking_model_free_and_warns_once(api_model, ernie_server, way):
    llm = api_model(model=THINKING)
    bound = llm.bind_tools([weather], tool_choice="any")
    with pytest.warns(UserWarning, match=WARNING):
        await ask(bound, "hi", way)
    await ask(bound, "hi", way)
    await ask(llm.bind_tools([weather], tool_choice="weather"), "hi", way)
    assert [each.body["tool_choice"] for each in ernie_server.requests] == ["auto"] * 3
    with pytest.warns(UserWarning, match=WARNING):  # another instance
        await ask(api_model(model=THINKING).bind_tools([weather], tool_choice="any"), "hi", way)


def test_once_means_for_calls_with_settings_of_their_own_too(api_model, ernie_server):
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


def test_once_means_across_threads(api_model, ernie_server):
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


def test_a_model_that_has_warned_is_the_same_model(api_model, ernie_server):
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


def test_what_is_asked_by_the_switch_is_not_a_limit(api_model, ernie_server):
    llm = api_model(model=FIVE, enable_thinking=False)
    llm.bind_tools([weather], tool_choice="any").invoke("hi")
    assert ernie_server.last_request.body["tool_choice"] == "required"
    with pytest.warns(UserWarning, match="enable_thinking=False to force a call"):
        api_model(model=FIVE).bind_tools([weather], tool_choice="any").invoke("hi")


def test_every_field_that_the_api_leaves_out_has_a_warning_of_its_own(api_model, ernie_server):
    llm = api_model(model=THINKING)
    tools = [{**ANTHROPIC, "cache_control": MARK}]
    cached = [HumanMessage([text("a", cache_control=MARK)])]
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
