"""The encoding of every class of message, and of whole histories of other providers."""

import copy
import datetime as dt
import functools
import json
from pathlib import Path

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessage,
    FunctionMessageChunk,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
    messages_from_dict,
)

from langchain_aimlernie._request.messages import encode_messages
from langchain_aimlernie.errors import BadRequestError
from langchain_aimlernie.profiles import find_model
from langchain_aimlernie.testing.contract import ignored_fields, validate_request

TEXT_MODEL = find_model("baidu/ernie-4.5-21b-a3b")
VISION = find_model("baidu/ernie-4.5-vl-28b-a3b")
FIVE = find_model("baidu/ernie-5.0")
PNG = "iVBORw0KGgoA"
IMAGE = {"type": "image", "base64": PNG, "mime_type": "image/png"}
IMAGE_PART = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def encode(*messages: BaseMessage, spec=TEXT_MODEL, **options) -> list[dict]:
    """Encode, and make sure of what holds for every conversation."""
    before = copy.deepcopy(messages)
    encoded = encode_messages(messages, spec, **options)
    assert list(messages) == list(before)
    body = {"model": spec.id, "messages": encoded}
    assert validate_request(body) == []
    if not options:
        assert ignored_fields(body) == []
    return encoded


def call(name: str = "f", args: object = None, call_id: str | None = "c1") -> dict:
    return {"name": name, "args": args or {}, "id": call_id, "type": "tool_call"}


def encoded_call(arguments: str = "{}", call_id: str = "c1", name: str = "f") -> dict:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def text(value: str, **more: object) -> dict:
    return {"type": "text", "text": value, **more}


def said(role: str, content: object, **more: object) -> dict:
    return {"role": role, "content": content, **more}


user, assistant, system = (functools.partial(said, r) for r in ("user", "assistant", "system"))


def tool(content: object, call_id: str = "c1", **more: object) -> dict:
    return {"role": "tool", "content": content, "tool_call_id": call_id, **more}


def result(content: object, call_id: str = "c1", **more: object) -> ToolMessage:
    return ToolMessage(content, tool_call_id=call_id, **more)


def roles(encoded: list[dict]) -> list[str]:
    return [each["role"] for each in encoded]


def error_of(*messages: BaseMessage, spec=TEXT_MODEL) -> str:
    with pytest.raises(BadRequestError) as caught:
        encode_messages(messages, spec)
    assert caught.value.__context__ is None
    return str(caught.value)


CALLED = AIMessage("", tool_calls=[call()])
THINKING = {"type": "thinking", "thinking": "x"}
TOOL_USE = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
DEVELOPERS = [
    ChatMessage("a", role="developer"),
    SystemMessage("a", additional_kwargs={"__openai_role__": "developer"}),
]
NO, NEVER = {"type": "refusal", "refusal": "no, "}, {"type": "refusal", "refusal": "never"}
FULL = HumanMessage("a", id="1", additional_kwargs={"x": "x"}, response_metadata={"y": 1}, name="")
CLASSES = {
    "system": (SystemMessage("a"), system("a")),
    "system chunk": (SystemMessageChunk("a"), system("a")),
    "system list": (SystemMessage(["a", text("b")]), system("ab")),
    "system named": (SystemMessage("a", name="rules"), system("a", name="rules")),
    "human": (HumanMessage("a"), user("a")),
    "human chunk": (HumanMessageChunk("a"), user("a")),
    "human named": (HumanMessage("a", name="李 雷"), user("a", name="李 雷")),
    "human with everything": (FULL, user("a")),
    "human with one text": (HumanMessage([text("a")]), user("a")),
    "human with nothing": (HumanMessage([]), user("")),
    "human with another agent's reasoning": (HumanMessage([THINKING, TOOL_USE]), user("")),
    "ai": (AIMessage("a"), assistant("a")),
    "ai chunk": (AIMessageChunk("a"), assistant("a")),
    "ai named": (AIMessage("a", name="my agent"), assistant("a", name="my agent")),
    "ai with nothing": (AIMessage(""), assistant("")),
    "ai with an empty list": (AIMessage([]), assistant("")),
    "ai with only reasoning": (AIMessage([THINKING]), assistant("")),
    "ai that spoke": (AIMessage("", additional_kwargs={"audio": {"transcript": "a"}}), assistant("a")),
    "ai that declined": (AIMessage("", additional_kwargs={"refusal": "no"}), assistant("", refusal="no")),
    "ai that declined, in blocks": (AIMessage([NO, NEVER]), assistant("", refusal="no, never")),
    "ai with half a pair": (AIMessage("a\ud83d"), assistant("a\ufffd")),
    "ai that summed up": (AIMessage([{"type": "compaction", "content": "so far"}, text("a")]), assistant("so far\n\na")),
    "ai with unknown keys": (AIMessage("a", additional_kwargs={"images": [IMAGE_PART]}), assistant("a")),
    "ai, broken off": (AIMessage(["a", "b", {"type": "hologram"}, IMAGE]), assistant("ab")),
    "chat user": (ChatMessage("a", role="user"), user("a")),
    "chat human": (ChatMessage("a", role="Human"), user("a")),
    "chat assistant": (ChatMessage("a", role="assistant"), assistant("a")),
    "chat ai": (ChatMessageChunk("a", role="ai"), assistant("a")),
    "chat of gemini": (ChatMessage([{"text": "a"}], role="model"), assistant("a")),
    "chat system": (ChatMessage(["a", "b"], role="system"), system("ab")),
    "chat developer": (DEVELOPERS[0], system("a")),
    "developer": (DEVELOPERS[1], system("a")),
    "own subclass": (type("Mine", (HumanMessage,), {})("a"), user("a")),
    "function without a call": (FunctionMessage("a", name="f"), user("[Result of the tool f]\na")),
}  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), CLASSES.values(), ids=CLASSES)
def test_each_message_class_is_encoded(message, expected):
    assert encode(message) == [expected]


def test_ernie_5_0_has_a_developer_role():
    for message in DEVELOPERS:
        assert encode(message, spec=FIVE) == [said("developer", "a")]


def test_content_none_is_sent_empty():
    messages = [AIMessage.model_construct(content=None), HumanMessage.model_construct(content=None)]
    assert [message["content"] for message in encode_messages(messages, TEXT_MODEL)] == ["", ""]


# What cannot be sent.


def test_an_error_names_message_model_block_and_hint():
    assert "no messages" in error_of()
    video = {"type": "video", "url": "https://e.com/a.mp4"}
    message = error_of(SystemMessage("a"), HumanMessage(["b", video]), spec=VISION)
    start = "messages[1] (HumanMessage) cannot be sent to baidu/ernie-4.5-vl-28b-a3b: "
    assert message.startswith(start)
    assert "'video'" in message
    assert "send single frames" in message


UNSUPPORTED = {
    "image": (HumanMessage([IMAGE]), "'image'. Use a vision model"),
    "image of a tool": (result([IMAGE]), "(ToolMessage).*'image'"),
    "image in instructions": (SystemMessage([IMAGE]), "'image' is not text.*user message"),
    "role": (ChatMessage("a", role="critic"), "no role 'critic'. Use one of 'user'"),
    "removal": (RemoveMessage(id="1"), r"messages\[1\] \(RemoveMessage\).*add_messages"),
    "base class": (BaseMessage("a", type="x"), r"\(BaseMessage\).*its class"),
    "date": (AIMessage("", tool_calls=[call("far", {"x": dt.date(2026, 1, 1)})]), "call of 'far'.*date is not JSON"),
}  # fmt: skip


@pytest.mark.parametrize(("message", "why"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_messages_raise_with_a_hint(message, why):
    with pytest.raises(BadRequestError, match=why):
        encode_messages([HumanMessage("a"), message], TEXT_MODEL)


def test_recursive_content_is_rejected():
    block: dict = {"type": "non_standard"}
    block["value"] = block
    assert "nested too deeply" in error_of(HumanMessage([block]))
    args: dict = {}
    args["args"] = args
    message = AIMessage("")
    message.tool_calls = [call("f", args)]
    assert "not JSON" in error_of(message)


# The turns of an assistant.


def invalid(text: str) -> str:
    return json.dumps({"invalid_arguments": text}, ensure_ascii=False)


def test_tool_calls_are_sent_with_json_arguments_without_escapes():
    calls = [call("f", {"city": "北京", "n": 1.5}), call("f", {"城": [float("-inf")]}, "c2")]
    sent = [
        encoded_call('{"city": "北京", "n": 1.5}'),
        encoded_call(invalid('{"城": [-Infinity]}'), "c2"),
    ]
    assert encode(AIMessage("走", tool_calls=calls)) == [assistant("走", tool_calls=sent)]


INVALID_ARGUMENTS = [
    *(
        (text, invalid(text))
        for text in ('{"city": "Bei', "[1]", "null", '{"a": NaN}', '{"a": 1e999}', "北京")
    ),
    ("\ud83d", invalid("\ufffd")),
    (' {"a": 1} ', '{"a": 1}'),
    *((empty, "{}") for empty in ("", " \n", None)),
]


@pytest.mark.parametrize(("args", "arguments"), INVALID_ARGUMENTS)
def test_invalid_arguments_are_wrapped_in_a_json_object(args, arguments):
    broken = {"name": "g", "args": args, "id": "c2", "error": "e"}
    message = AIMessage("", tool_calls=[call()], invalid_tool_calls=[broken])
    turn, *results = encode(message, result("a"), result("b", "c2"))
    assert turn["tool_calls"] == [encoded_call(), encoded_call(arguments, "c2", "g")]
    assert [each["tool_call_id"] for each in results] == ["c1", "c2"]


def test_calls_without_ids_or_names_match_their_results():
    turn = AIMessage(
        "",
        tool_calls=[call("f", call_id=None), call("g", call_id="")],
        invalid_tool_calls=[{"name": None, "args": "", "id": None, "error": None}],
    )
    second = AIMessage("", tool_calls=[call("h", call_id=None)])
    results = [result("of g", "x", name="g"), result("of f", ""), result("of the nameless", "y")]
    encoded = encode(turn, *results, second, result("of h", "z"))
    f, g, nameless = (each["id"] for each in encoded[0]["tool_calls"])
    h = encoded[4]["tool_calls"][0]["id"]
    assert len({f, g, nameless, h}) == 4
    assert [each["function"]["name"] for each in encoded[0]["tool_calls"]] == ["f", "g", "unknown"]
    matched = {each["content"]: each["tool_call_id"] for each in encoded if each["role"] == "tool"}
    assert matched == {"of g": g, "of f": f, "of the nameless": nameless, "of h": h}


def test_a_result_without_id_and_name_belongs_to_the_first_open_call():
    turn = AIMessage("", tool_calls=[call(), call("g", call_id="c2")])
    encoded = encode(turn, result("1", ""), result("2", ""), result("3", ""))
    assert encoded[1:] == [tool("1"), tool("2", "c2"), user("[Result of the tool unknown]\n3")]


def test_calls_with_equal_ids_get_unique_ones():
    """The second, third and fourth of a kind, and an id that one of them would get."""
    own_ids = ["c1", "c1", "c1", "c1_2", "c1"]
    turn = AIMessage("", tool_calls=[call(call_id=each) for each in own_ids])
    encoded = encode(turn, *(result(str(n), each) for n, each in enumerate(own_ids)))
    sent = [each["id"] for each in encoded[0]["tool_calls"]]
    assert len(set(sent)) == 5
    assert [each["tool_call_id"] for each in encoded[1:]] == sent


def test_a_result_belongs_to_the_last_turn_with_such_a_call():
    for call_id, result_id in ((None, "x"), ("c1", "c1")):
        turn = AIMessage("", tool_calls=[call(call_id=call_id)])
        first, _, second, answer = encode(turn, HumanMessage("a"), turn, result("r", result_id))
        assert second["tool_calls"][0]["id"] == answer["tool_call_id"]
        assert (first["tool_calls"] == second["tool_calls"]) is (call_id is not None)


RAW_CALL = {**encoded_call('{"a": 1}'), "index": 0}


def test_calls_of_a_chat_message_are_its_raw_ones():
    for raw, calls in (
        ([RAW_CALL], [encoded_call('{"a": 1}')]),
        ([encoded_call('{"a')], [encoded_call(invalid('{"a'))]),
        ([None, 7], []),
    ):
        for keys in ({"tool_calls": raw}, {"additional_kwargs": {"tool_calls": raw}}):
            (encoded,) = encode(ChatMessage("", role="assistant", **keys))
            assert encoded.get("tool_calls", []) == calls


REMOVED = {
    "anthropic": {"type": "tool_use", "id": "c2", "name": "g", "input": {"a": 1}},
    "responses": {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "g"},
    "v1": {"type": "tool_call", "id": "c2", "name": "g", "args": {"a": 1}},
    "v1 invalid": {"type": "invalid_tool_call", "id": "c2", "name": "g", "args": "{"},
    "v1 non-standard": {"type": "non_standard", "value": {"type": "tool_use", "id": "c2"}},
    "converse": {"toolUse": {"toolUseId": "c2", "name": "g", "input": {}}},
    "gemini": {"functionCall": {"name": "g", "args": {}}},
}


@pytest.mark.parametrize("block", REMOVED.values(), ids=REMOVED)
@pytest.mark.parametrize("kept", [[call()], []], ids=["another is kept", "none is kept"])
def test_a_removed_call_is_not_restored_from_content(block, kept):
    first = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
    raw = [RAW_CALL, {"id": "c2", "function": {"name": "g", "arguments": "{}"}}]
    turn = AIMessage(
        ["a", first, block],
        tool_calls=[call(), call("g", {"a": 1}, "c2")],
        additional_kwargs={"tool_calls": raw, "function_call": raw[1]["function"]},
    )
    turn = turn.model_copy(update={"tool_calls": kept})
    encoded = encode(turn, *[result("1")][: len(kept)], result("2", "c2", name="g"))
    assert encoded[0]["content"] == "a"
    assert encoded[0].get("tool_calls", []) == [encoded_call()] * len(kept)
    assert encoded[-1] == user("[Result of the tool g]\n2")


def test_a_legacy_function_call_is_sent_with_its_result():
    legacy = {"function_call": {"name": "f", "arguments": '{"a": 1}'}}
    turn = AIMessage("", additional_kwargs=legacy)
    unanswered = assistant("")
    assert encode(turn) == [unanswered]
    assert encode(turn, FunctionMessage("1", name="g"))[0] == unanswered
    assert encode(turn, HumanMessage("a"), FunctionMessage("1", name="f"))[0] == unanswered
    encoded = encode(turn, FunctionMessage("1", name="f"), turn, FunctionMessage("2", name="f"))
    ids = [each["tool_calls"][0]["id"] for each in encoded[::2]]
    assert encoded[0]["tool_calls"] == [encoded_call('{"a": 1}', ids[0])]
    assert [each["tool_call_id"] for each in encoded[1::2]] == ids
    assert len(set(ids)) == 2


H, M = ({"type": "reasoning", "reasoning": each} for each in "hm")
BESIDE = {"reasoning_content": "hm"}


@pytest.mark.parametrize(
    ("content", "additional", "provider", "reasoning"),
    [
        ([], BESIDE, None, "hm"),
        ([], BESIDE, "aimlernie", "hm"),
        ([H, M], {}, None, "hm"),
        ([], BESIDE, "deepseek", None),
        ([THINKING], {}, "anthropic", None),
        ([], {}, None, None),
    ],
)
def test_reasoning_is_replayed_on_request_if_it_is_our_own(
    content, additional, provider, reasoning
):
    metadata = {"model_provider": provider} if provider else {}
    message = AIMessage([*content, "a"], additional_kwargs=additional, response_metadata=metadata)
    assert encode(message) == [assistant("a")]
    (replayed,) = encode(message, replay_reasoning=True)
    assert replayed.get("reasoning_content") == reasoning
    assert replayed["content"] == "a"


@pytest.mark.parametrize("image", [IMAGE, {"type": "image_generation_call", "result": PNG}])
def test_media_of_an_assistant_are_shown_to_a_vision_model(image):
    turn = AIMessage(["here:", image], tool_calls=[call()])
    messages = (turn, result("ok"), HumanMessage("what is it?"))
    assert roles(encode(*messages)) == ["assistant", "tool", "user"]
    encoded = encode(*messages, spec=VISION)
    assert roles(encoded) == ["assistant", "tool", "user", "user"]
    assert encoded[2] == user([text("[What the assistant showed]"), IMAGE_PART])


# The results of tools.


def test_a_result_is_sent_without_artifact_and_metadata():
    full = result("ok", name="f", artifact="for us", id="1", additional_kwargs={"x": 1})
    assert encode(CALLED, full)[1] == tool("ok", name="f")
    assert encode(CALLED, ToolMessageChunk("ok", tool_call_id="c1"))[1] == tool("ok")


@pytest.mark.parametrize(
    ("content", "status", "sent"),
    [
        ([text("a"), text("b")], "success", "a\nb"),
        ([{"城": 1}], "success", '[{"城": 1}]'),
        ([], "success", ""),
        (22, "success", "22"),
        ("no such city", "error", "Error: no such city"),
        ("Error: no such city", "error", "Error: no such city"),
        ("\nerror invoking", "error", "\nerror invoking"),
        ("", "error", "Error: "),
    ],
)
def test_a_result_is_a_string_that_marks_an_error(content, status, sent):
    for spec in (TEXT_MODEL, FIVE):
        assert encode(CALLED, result(content, status=status), spec=spec)[1]["content"] == sent


SHOWN = "[What this result shows follows in a user message.]"


def test_media_of_tools_follow_all_results():
    turn = AIMessage("", tool_calls=[call("chart"), call("f", call_id="c2")])
    results = [result(["a chart", IMAGE], name="chart"), result("b", "c2")]
    for after in ([], [HumanMessage("go on")], [AIMessage("c")]):
        encoded = encode(turn, *results, *after, spec=VISION)
        assert roles(encoded[:4]) == ["assistant", "tool", "tool", "user"]
        assert encoded[1]["content"] == f"a chart\n{SHOWN}"
        assert encoded[3] == user([text("[Result of the tool chart]"), IMAGE_PART])
        assert len(encoded) == 4 + len(after)

    encoded = encode(CALLED, result([IMAGE]), spec=FIVE)
    assert encoded[1]["content"] == SHOWN
    assert encoded[2]["content"][0]["text"] == "[Result of the tool c1]"


def test_results_without_a_call_become_a_user_message_after_the_others():
    encoded = encode(
        result("lost", "c0", name="f"),
        AIMessage("", tool_calls=[call(), call(call_id="c2")]),
        result("1"),
        result("stray", "c9"),
        result("second", "c8"),
        result("2", "c2"),
        result("2 again", "c2"),
    )
    assert roles(encoded) == ["user", "assistant", "tool", "tool", "tool", "user"]
    assert encoded[0]["content"] == "[Result of the tool f]\nlost"
    stray = [text("[Result of the tool c9]\nstray"), text("[Result of the tool c8]\nsecond")]
    assert encoded[5]["content"] == stray


def test_a_late_result_moves_to_its_call():
    other_turn = [AIMessage("", tool_calls=[call("g", call_id="c9")]), result("9", "c9")]
    for between in (
        *([HumanMessage("a")], [SystemMessage("a")], [AIMessage("a")]),
        [HumanMessage("a"), *other_turn],
    ):
        encoded = encode(CALLED, *between, result("late"), HumanMessage("b"))
        assert encoded == encode(CALLED, result("late"), *between, HumanMessage("b"))


@pytest.mark.parametrize(
    "turn",
    [
        AIMessage("", additional_kwargs={"function_call": {"name": "f", "arguments": "{}"}}),
        AIMessage("", tool_calls=[call("g", call_id="c2"), call("f")]),
        AIMessage("", tool_calls=[call("g", call_id=None), call("f")]),
    ],
)
def test_a_function_message_matches_the_call_of_its_name(turn):
    for message in (
        FunctionMessage("ok", name="f"),
        FunctionMessageChunk("ok", name="f"),
        ChatMessage("ok", role="function", name="f"),
    ):
        encoded = encode(turn, message)
        called = {each["function"]["name"]: each["id"] for each in encoded[0]["tool_calls"]}
        assert encoded[1] == tool("ok", called["f"], name="f")


OF_TOOL = {"type": "tool_result", "tool_use_id": "c1"}


@pytest.mark.parametrize(
    "message",
    [
        ChatMessage("ok", role="tool", tool_call_id="c1"),
        ChatMessage("ok", role="tool", additional_kwargs={"tool_call_id": "c1"}),
        HumanMessage([{**OF_TOOL, "content": [text("ok")]}]),
        HumanMessage([{"toolResult": {"toolUseId": "c1", "content": [{"text": "ok"}]}}]),
        HumanMessage([{"functionResponse": {"name": "f", "response": "ok"}}]),
    ],
)
def test_results_in_other_messages_become_tool_messages(message):
    _, encoded = encode(CALLED, message)
    assert encoded | {"name": "f"} == tool("ok", name="f")


def test_user_text_follows_results_in_the_same_message():
    message = HumanMessage(["and now?", {**OF_TOOL, "content": "ok", "is_error": True}])
    assert encode(CALLED, message)[1:] == [tool("Error: ok"), user("and now?")]


CACHE_CONTROL = {"cache_control": {"type": "ephemeral"}}
B = text("b", **CACHE_CONTROL)
CACHED = {
    "system": (SystemMessage(["a", B]), system([text("a"), B])),
    "developer": (ChatMessage([B], role="developer"), said("developer", [B])),
    "user": (HumanMessage([B]), user([B])),
    "assistant": (AIMessage([B, "a"]), assistant([B, text("a")])),
}


@pytest.mark.parametrize(("message", "expected"), CACHED.values(), ids=CACHED)
def test_cache_control_is_sent_to_ernie_5_0_only(message, expected):
    assert encode(message, spec=FIVE) == [expected]
    texts = "".join(part["text"] for part in expected["content"])
    role = expected["role"].replace("developer", "system")
    assert encode(message) == [{"role": role, "content": texts}]


def test_cache_control_in_tool_results():
    for message, parts in (
        (result([text("a"), B], status="error"), [text("Error: a"), B]),
        (HumanMessage([{**OF_TOOL, "content": "b", **CACHE_CONTROL}]), [B]),
    ):
        assert encode(CALLED, message, spec=FIVE)[1]["content"] == parts
        assert encode(CALLED, message)[1]["content"] == "\n".join(part["text"] for part in parts)


# Whole histories, as they come out of the real packages (langchain-anthropic 1.7, langchain-openai
# 1.7, langchain-google-genai 4.4, langchain-mistralai 1.1), in their own dialect and in v1.

HISTORIES = json.loads((Path(__file__).parent / "histories.json").read_text(encoding="utf-8"))
FOREIGN = (
    *("Two cities", "signature", "encrypted", "annotations", '"index"', "msg_", "fc_", "extras"),
)


def text_of(message: dict) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


@pytest.mark.parametrize("spec", [TEXT_MODEL, VISION, FIVE], ids=lambda spec: spec.id)
@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_of_another_provider_is_encoded(name, spec):
    encoded = encode(*messages_from_dict(HISTORIES[name]), spec=spec)
    instructions, question, turn, first, second, reply = encoded[:6]
    calls = turn["tool_calls"]
    is_developer = spec is FIVE and name.startswith("openai")
    assert instructions["role"] == ("developer" if is_developer else "system")
    assert text_of(instructions) == "You are brief."
    assert text_of(question) == "What is the weather in Beijing and in Shanghai?"
    assert turn["content"] == ("" if name.startswith("openai_chat") else "I will look at both.")
    assert json.loads(calls[0]["function"]["arguments"]) == {"city": "北京"}
    assert [first["tool_call_id"], second["tool_call_id"]] == [each["id"] for each in calls]
    assert text_of(first) == "sun, 22"
    assert reply["content"] == "Beijing: sun, 22 degrees."
    sent = json.dumps(encoded, ensure_ascii=False)
    assert ("cache_control" in sent) is (spec is FIVE and name.startswith("anthropic"))
    assert [each for each in FOREIGN if each in sent] == []
    if name.startswith("openai") and name != "openai_chat_v1":
        assert encoded[-1] == assistant("", refusal="I cannot help with that.")
    if name.startswith(("openai", "mistral")):
        arguments = json.loads(calls[1]["function"]["arguments"])
        assert arguments["invalid_arguments"].startswith('{"city"')
