"""Properties of any history: its body satisfies the model's schema, and it is not changed."""

import copy
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_aimlernie._request.content import _GROUPS
from langchain_aimlernie._request.core_input import wrap_incomplete
from langchain_aimlernie._request.messages import encode_messages
from langchain_aimlernie.errors import BadRequestError
from langchain_aimlernie.profiles import find_model
from langchain_aimlernie.testing.contract import ignored_fields, validate_request

NAMES = ("4.5-21b-a3b", "4.5-vl-28b-a3b", "5.0")
MODELS = [find_model(f"baidu/ernie-{name}") for name in NAMES]
VISION_MODELS = MODELS[1:]

# Any string of Python: NUL, half surrogate pairs, line separators.
strings = st.text(st.characters(exclude_categories=()), max_size=8)
ids = st.sampled_from(["", "c1", "c2", "c3", "\ud83d"])
names = st.sampled_from(["", "f", "g", "my tool"])
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    plain | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(strings, values, max_size=3)

# Well-formed blocks, and blocks that only resemble some.
PNG = "iVBORw0KGgoA"
KEYS = (
    *("type", "text", "url", "base64", "data", "mime_type", "source_type", "source", "file_id"),
    *("id", "file", "image_url", "input_audio", "detail", "extras", "metadata", "title", "format"),
    *("bytes", "name", "args", "arguments", "input", "call_id", "tool_use_id", "content", "output"),
    *("is_error", "reasoning", "thinking", "refusal", "value", "index", "annotations", "status"),
    *("cache_control",),
)
UNUSUAL_VALUES = (
    *("data:image/png;base64,AAAA", "data:,a%zz", "data:x", "https://e.com/\ud83d", "https://"),
    *(PNG, "image/png", "image/\ud83d", "application/pdf", "text/csv", "base64", "id", "url"),
    *("text", "===="),
)
CACHED = {"index": 0, "cache_control": {"type": "ephemeral"}}

texts = st.one_of(
    strings,
    strings.map(lambda text: {"type": "text", "text": text, **CACHED}),
    strings.map(lambda text: {"text": text}),
    strings.map(lambda text: {"type": "text-plain", "text": text, "mime_type": "text/plain"}),
)
MEDIA = [
    {"type": "image", "base64": PNG, "mime_type": "image/png"},
    {"type": "image", "source_type": "url", "url": "https://e.com/a.png"},
    {"type": "image_url", "image_url": "https://e.com/a.png"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    {"type": "media", "mime_type": "application/pdf", "data": b"%PDF-1.4"},
    {"type": "file", "file": {"file_data": "JVBERi0x", "filename": "a.pdf"}},
]
media = st.sampled_from(MEDIA)
calls = st.builds(
    lambda **block: {**block, "call_id": block["id"]},
    type=st.sampled_from(["tool_use", "tool_call", "function_call", "invalid_tool_call"]),
    id=ids,
    name=names,
    input=objects | strings,
)
reasoning = strings.map(lambda text: {"type": "reasoning", "reasoning": text, "extras": {"x": 1}})
KINDS = st.sampled_from([*sorted(_GROUPS), "non_standard"])
arbitrary = st.recursive(
    values | st.sampled_from(UNUSUAL_VALUES) | st.binary(max_size=6),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.builds(
            lambda kind, block: {**block, "type": kind},
            KINDS | strings,
            st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
        ),
        st.dictionaries(KINDS, inner, max_size=1),
    ),
    max_leaves=8,
)
arbitrary_blocks = arbitrary.filter(lambda block: isinstance(block, str | dict))


def content_of(*blocks):
    return strings | st.lists(st.one_of(*blocks), max_size=4)


def ai_messages(content, called=names):
    call = {"name": called, "id": ids | st.none()}
    valid = st.fixed_dictionaries({**call, "args": objects})
    invalid = st.fixed_dictionaries({**call, "args": strings | st.none(), "error": st.none()})
    refusal = strings | st.none()
    raw = {"reasoning_content": strings, "refusal": refusal, "function_call": arbitrary}
    return st.builds(
        AIMessage,
        content,
        tool_calls=st.lists(valid, max_size=3),
        invalid_tool_calls=st.lists(invalid, max_size=2),
        additional_kwargs=st.fixed_dictionaries({}, optional=raw),
        name=names,
    ) | st.builds(AIMessageChunk, content)


def all_messages(user, system, tool):
    roles = st.sampled_from(["user", "Human", "assistant", "ai", "function", "tool"])
    developer = st.sampled_from([{}, {"__openai_role__": "developer"}])
    of_tool = {"tool_call_id": ids, "name": names, "status": st.sampled_from(["success", "error"])}
    messages = st.one_of(
        st.builds(HumanMessage, user, name=names),
        st.builds(SystemMessage, system, additional_kwargs=developer),
        ai_messages(content_of(arbitrary_blocks, texts, calls, reasoning, media)),
        st.builds(ToolMessage, tool, **of_tool),
        st.builds(FunctionMessage, tool, name=names),
        st.builds(ChatMessage, content_of(texts), role=roles, name=names),
    )
    return st.lists(messages, min_size=1, max_size=5)


anything = content_of(arbitrary_blocks, texts, media, calls, reasoning)
any_history = all_messages(anything, anything, anything)
text_history = all_messages(
    content_of(texts, calls, reasoning),
    content_of(texts, reasoning),
    content_of(texts, values.filter(lambda value: isinstance(value, dict))),
)
media_history = all_messages(
    content_of(texts, media, reasoning), content_of(texts), content_of(texts, media)
)


def check(history, spec, **options):
    """Check that the body is valid, complete JSON and `history` unchanged."""
    before = copy.deepcopy(history)
    try:
        encoded = encode_messages(history, spec, **options)
    finally:
        assert history == before
    body = {"model": spec.id, "messages": encoded}
    assert validate_request(body) == []
    assert ignored_fields(body) == []
    assert json.loads(json.dumps(body, ensure_ascii=False, allow_nan=False).encode()) == body


@pytest.mark.slow
@settings(max_examples=100)
@given(history=any_history)
def test_any_history_gives_a_valid_body_or_an_error_with_its_place(history):
    for spec in MODELS:
        why = f"messages[ {spec.id}"
        try:
            check(history, spec)
        except BadRequestError as error:
            why = str(error)
        assert why.startswith("messages[")
        assert spec.id in why


@pytest.mark.slow
@settings(max_examples=60)
@given(of_text=text_history, of_media=media_history)
def test_a_history_of_what_the_model_takes_is_encoded(of_text, of_media):
    check(of_text, MODELS[0])
    check(of_media, MODELS[0], omit_unsupported=True)
    for spec in VISION_MODELS:
        check(of_media, spec)
        check(of_media, spec, omit_unsupported=True)


incomplete = st.builds(
    lambda kind, source, keys: {**keys, "type": kind, **source},
    st.sampled_from(["image", "audio", "file", ["image"]]),
    st.sampled_from([{}, *({"source_type": s} for s in ("url", "base64", "id", "text", "none"))]),
    st.dictionaries(
        st.sampled_from(["url", "data", "base64", "text", "id", "file_id", "mime_type", "file"]),
        st.sampled_from(["https://e.com/a.png", PNG, "image/png"]),
        max_size=3,
    ),
)


@pytest.mark.slow
@settings(max_examples=50)
@given(content=st.lists(incomplete, min_size=1, max_size=2))
@example(content=[{"type": "image", "text": "a", "mime_type": "image/png"}])
def test_core_passes_on_incomplete_media_once_wrapped(content):
    history = [HumanMessage(content)]
    before = copy.deepcopy(history)
    assert FakeListChatModel(responses=["a"]).invoke(wrap_incomplete(history)).text == "a"
    assert history == before


@pytest.mark.slow
@settings(max_examples=50)
@given(turn=ai_messages(strings, called=names.filter(bool)), data=st.data())
def test_each_result_matches_one_call(turn, data):
    called = [*turn.tool_calls, *turn.invalid_tool_calls]
    results = [
        ToolMessage(str(place), tool_call_id=each["id"] or "", name=each["name"])
        for place, each in enumerate(called)
    ]
    first, *rest = encode_messages([turn, *data.draw(st.permutations(results))], MODELS[0])
    matched = [each["tool_call_id"] for each in rest if each["role"] == "tool"]
    assert len(set(matched)) == len(called)
    assert set(matched) <= {each["id"] for each in first.get("tool_calls", [])}
