"""Reasoning: where it stands in an answer, what it costs, and that it is not sent back."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from pydantic import BaseModel

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.errors import BadRequestError
from langchain_aimlernie.testing import ErnieServer, Reply
from langchain_aimlernie.testing.catalogue import MODELS

THINKING = "baidu/ernie-4.5-21b-a3b-thinking"
FIVE = "baidu/ernie-5.0"
OWN = "ERNIE-4.5-21B-A3B-Thinking-PT"
THOUGHT = "The sky scatters 蓝 light. "
ANSWER = "\nBecause of air."
WAYS = ["invoke", "ainvoke", "stream", "astream"]

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


async def chunks_of(llm, value, way, **kwargs):
    """List the chunks of an answer; a whole message is a list of one."""
    if way == "invoke":
        return [llm.invoke(value, **kwargs)]
    if way == "ainvoke":
        return [await llm.ainvoke(value, **kwargs)]
    if way == "stream":
        return list(llm.stream(value, **kwargs))
    return [chunk async for chunk in llm.astream(value, **kwargs)]


def merged(chunks):
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return whole


@pytest.fixture(scope="module")
def own_server():
    """A server of one's own: no key, and no schema that forbids a field."""
    with ErnieServer(api_key=None, models={OWN: THINKING}) as server:
        yield server


@pytest.fixture
def own(own_server, monkeypatch):
    """Make models at that server."""
    monkeypatch.delenv("AIMLAPI_API_KEY", raising=False)
    own_server.reset()
    yield lambda **settings: ChatAimlErnie(model=OWN, base_url=own_server.base_url, **settings)
    own_server.reset()


# Where it stands.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model_id", [THINKING, FIVE, "baidu/ernie-x1-turbo-32k"])
async def test_thoughts_are_beside_the_text_and_counted(model, ernie_server, way, model_id):
    ernie_server.reply(ANSWER, reasoning=THOUGHT)
    message = merged(await chunks_of(model(model=model_id), "why?", way))
    assert message.content == message.text == ANSWER
    assert message.additional_kwargs == {"reasoning_content": THOUGHT}
    assert message.content_blocks == [
        *[{"type": "reasoning", "reasoning": THOUGHT} | _index(message, "lc_reasoning")],
        *[{"type": "text", "text": ANSWER} | _index(message, "lc_text")],
    ]
    usage = message.usage_metadata
    counted = ernie_server.last_request.usage["completion_tokens_details"]["reasoning_tokens"]
    assert usage["output_token_details"]["reasoning"] == counted > 0
    assert usage["output_tokens"] > counted


def _index(message, name):
    return {"index": name} if isinstance(message, AIMessageChunk) else {}


@pytest.mark.parametrize("way", WAYS)
async def test_v1_blocks_put_thoughts_before_the_text(model, ernie_server, way):
    ernie_server.reply(
        ANSWER, reasoning=THOUGHT, tool_calls=[{"name": "look", "args": {}, "id": "c"}]
    )
    llm = model(model=THINKING, output_version="v1")
    chunks = await chunks_of(llm, "why?", way)
    kinds = [block["type"] for chunk in chunks for block in chunk.content]
    order = list(dict.fromkeys(kinds))
    assert order[:2] == ["reasoning", "text"]
    assert order[2] in ("tool_call", "tool_call_chunk")
    assert kinds == sorted(kinds, key=order.index)
    if "stream" in way:
        assert kinds.count("reasoning") > 3
        assert kinds.count("text") > 3
    whole = merged(chunks)
    blocks = whole.content
    assert [block["type"] for block in blocks] == ["reasoning", "text", "tool_call"]
    assert (blocks[0]["reasoning"], blocks[1]["text"]) == (THOUGHT, ANSWER)
    assert whole.text == ANSWER


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_every_thought_is_streamed_before_the_first_word(model, ernie_server, version):
    ernie_server.reply(ANSWER, reasoning=THOUGHT)
    steps = [
        (block["type"], block.get("reasoning") or block.get("text"))
        for chunk in model(model=THINKING, output_version=version).stream("why?")
        for block in chunk.content_blocks
    ]
    thoughts = "".join(text for kind, text in steps if kind == "reasoning")
    words = "".join(text for kind, text in steps if kind == "text")
    assert (thoughts, words) == (THOUGHT, ANSWER)
    kinds = [kind for kind, _ in steps]
    assert kinds.index("text") == kinds.count("reasoning")


async def test_v3_streams_thoughts_apart_from_the_text(model, ernie_server):
    ernie_server.reply(ANSWER, reasoning=THOUGHT, times=2)
    llm = model(model=THINKING)
    stream = llm.stream_events("why?", version="v3")
    assert "".join(stream.reasoning) == THOUGHT
    assert "".join(stream.text) == ANSWER
    later = await llm.astream_events("why?", version="v3")
    assert "".join([piece async for piece in later.reasoning]) == THOUGHT
    message = await later.output
    assert [block["type"] for block in message.content] == ["reasoning", "text"]


def test_a_model_that_does_not_think_has_no_trace_of_it(model, ernie_server):
    for reasoning in (None, ""):
        ernie_server.reply("Hi.", reasoning=reasoning, times=2)
        for message in (model().invoke("hi"), merged(list(model().stream("hi")))):
            assert "reasoning_content" not in message.additional_kwargs
            assert [block["type"] for block in message.content_blocks] == ["text"]
            assert message.usage_metadata["output_token_details"]["reasoning"] == 0


async def test_thoughts_of_many_answers_at_once_stay_apart(model, ernie_server):
    def think(request):
        number = request.body["messages"][0]["content"]
        return Reply(f"answer {number}", reasoning=f"thought {number}")

    ernie_server.on_request = think
    llm = model(model=THINKING, streaming=True)
    answers = await asyncio.gather(*(llm.ainvoke(str(number)) for number in range(20)))
    assert [(each.additional_kwargs["reasoning_content"], each.text) for each in answers] == [
        (f"thought {number}", f"answer {number}") for number in range(20)
    ]


def test_thoughts_cut_by_the_limit_are_all_that_comes(model, ernie_server):
    ernie_server.reply("", reasoning=THOUGHT, finish_reason="length", times=2)
    llm = model(model=THINKING)
    for message in (llm.invoke("why?"), merged(list(llm.stream("why?")))):
        assert message.text == ""
        assert message.additional_kwargs["reasoning_content"] == THOUGHT
        assert message.response_metadata["finish_reason"] == "length"


# Not sent back.


def history_of(llm, server, form):
    """Let a model think, call a tool and answer; give the conversation in one of its forms."""
    asked = [HumanMessage("why?")]
    server.reply(
        "I look.", reasoning="First. ", tool_calls=[{"name": "look", "args": {}, "id": "c"}]
    )
    server.reply("Air.", reasoning="Second. ")
    for more in ([], [ToolMessage("seen", tool_call_id="c")]):
        asked += more
        if form == "v3":
            asked.append(llm.stream_events(asked, version="v3").output)
        else:
            asked.append(llm.invoke(asked))
    return [*asked, HumanMessage("and?")]


FORMS = {
    "v0": {},
    "v0 streamed": {"streaming": True},
    "v1": {"output_version": "v1"},
    "v1 streamed": {"output_version": "v1", "streaming": True},
    "v3": {},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model_id", [THINKING, FIVE])
async def test_earlier_thoughts_are_not_sent_back(model, ernie_server, form, model_id):
    llm = model(model=model_id, **FORMS[form])
    asked = history_of(llm, ernie_server, form)
    for way in WAYS:
        await chunks_of(llm, asked, way)
        request = ernie_server.last_request
        assert request.ignored == []
        assert b"First." not in request.raw
        assert b"Second." not in request.raw
        texts = [each["content"] for each in request.body["messages"]]
        assert texts == ["why?", "I look.", "seen", "Air.", "and?"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", ["constructor", "call", "bind"])
async def test_thoughts_are_replayed_to_who_asks_for_it(own, own_server, form, how):
    asked = history_of(own(**FORMS[form]), own_server, form)
    wish = {"replay_reasoning": True}
    llm = own(**(wish if how == "constructor" else {}))
    llm = llm.bind(**wish) if how == "bind" else llm
    for way in WAYS:
        await chunks_of(llm, asked, way, **(wish if how == "call" else {}))
        sent = own_server.last_request.body["messages"]
        thoughts = [each.get("reasoning_content") for each in sent]
        assert thoughts == [None, "First. ", None, "Second. ", None]
        assert [each["content"] for each in sent] == ["why?", "I look.", "seen", "Air.", "and?"]


def test_a_call_can_leave_thoughts_out_that_the_model_would_replay(own, own_server):
    llm = own(replay_reasoning=True)
    asked = history_of(llm, own_server, "v0")
    llm.invoke(asked, replay_reasoning=False)
    assert b"First." not in own_server.last_request.raw


def test_only_ones_own_thoughts_are_replayed(own, own_server):
    def thought(provider):
        metadata = {"model_provider": provider} if provider else {}
        return AIMessage(
            [{"type": "reasoning", "reasoning": f"by {provider}"}, {"type": "text", "text": "t"}],
            additional_kwargs={"reasoning_content": f"by {provider}"},
            response_metadata=metadata,
        )

    asked = [HumanMessage("why?"), *map(thought, ("aimlernie", None, "anthropic", "deepseek"))]
    own(replay_reasoning=True).invoke(asked)
    sent = own_server.last_request.body["messages"]
    assert [each.get("reasoning_content") for each in sent[1:]] == [
        "by aimlernie",
        "by None",
        None,
        None,
    ]


# The switch and the budget of ernie-5.0.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["constructor", "call", "bind"])
async def test_thinking_can_be_switched_off_and_on(model, ernie_server, way, where):
    for wish in (False, True, None):
        settings = {} if wish is None else {"enable_thinking": wish}
        llm = model(model=FIVE, **(settings if where == "constructor" else {}))
        llm = llm.bind(**settings) if where == "bind" else llm
        message = merged(await chunks_of(llm, "why?", way, **(settings if where == "call" else {})))
        assert ernie_server.last_request.body.get("enable_thinking") is wish
        assert ("reasoning_content" in message.additional_kwargs) is (wish is not False)


def test_thoughts_have_a_budget(model, ernie_server):
    long = "why " * 500
    free = model(model=FIVE).invoke(long)
    bound = model(model=FIVE, thinking_budget=100).invoke(long)
    assert ernie_server.last_request.body["thinking_budget"] == 100
    counts = [each.usage_metadata["output_token_details"]["reasoning"] for each in (free, bound)]
    assert counts[0] > counts[1] == 100


@pytest.mark.parametrize("value", [99, 0, -1, 100.5, "200", True])
def test_a_budget_outside_its_range_is_refused_when_it_is_set(model, value):
    with pytest.raises(ValueError, match="thinking_budget must be an integer of at least 100"):
        model(model=FIVE, thinking_budget=value)


@pytest.mark.parametrize("model_id", [each.id for each in MODELS if each.id != FIVE])
@pytest.mark.parametrize("setting", [{"enable_thinking": True}, {"thinking_budget": 200}])
def test_models_without_the_switch_refuse_it_before_anything_is_sent(
    api_model, ernie_server, model_id, setting
):
    (name,) = setting
    for ask in (
        lambda: api_model(model=model_id, **setting).invoke("why?"),
        lambda: list(api_model(model=model_id).stream("why?", **setting)),
        lambda: asyncio.run(api_model(model=model_id).bind(**setting).ainvoke("why?")),
    ):
        with pytest.raises(BadRequestError, match=name) as caught:
            ask()
        assert model_id in str(caught.value)
    assert ernie_server.requests == []


# Thoughts that other servers leave in the text.

AIR = ANSWER.lstrip()  # the line breaks after the tags belong to no part
INLINE = {
    f"<think>{THOUGHT}</think>{ANSWER}": (THOUGHT, AIR),
    f"\n<think>\n{THOUGHT}\n</think>\n\n{ANSWER}": (THOUGHT, AIR),
    f"<think>\n{THOUGHT}\n</think>\n\n<response>\n{ANSWER}\n</response>\n": (THOUGHT, AIR),
    "<response>\nParis\n</response>": ("", "<response>\nParis\n</response>"),
    f"<think></think>{ANSWER}": ("", AIR),
    "<think>never ends": ("never ends", ""),
    "Use <think>tags</think> so.": ("", "Use <think>tags</think> so."),
    "<thinking>hm</thinking>": ("", "<thinking>hm</thinking>"),
    "a < b, <b>bold</b>": ("", "a < b, <b>bold</b>"),
    "<": ("", "<"),
}


def split_at(text, size):
    return [text[start : start + size] for start in range(0, len(text), size)]


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", INLINE)
async def test_inline_thoughts_are_split_off(own, own_server, text, way, version):
    thought, answer = INLINE[text]
    own_server.reply(text)
    message = merged(await chunks_of(own(output_version=version), "why?", way))
    assert message.text == answer
    assert message.additional_kwargs.get("reasoning_content", "") == thought
    kinds = [block["type"] for block in message.content_blocks]
    assert kinds == ["reasoning"] * bool(thought) + ["text"] * bool(answer)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("text", INLINE)
def test_inline_thoughts_are_split_off_wherever_a_stream_is_cut(own, own_server, text, size):
    own_server.reply(
        events=[
            *[{"choices": [{"delta": {"content": piece}}]} for piece in split_at(text, size)],
            {"choices": [{"delta": {}, "finish_reason": "stop"}]},
            "[DONE]",
        ]
    )
    message = merged(list(own().stream("why?")))
    assert (message.additional_kwargs.get("reasoning_content", ""), message.text) == INLINE[text]


def test_inline_thoughts_are_streamed_and_not_kept_to_the_end(own, own_server):
    text = f"<think>{THOUGHT * 5}</think>{ANSWER}"
    own_server.reply(text)
    thoughts = [
        chunk.additional_kwargs["reasoning_content"]
        for chunk in own().stream("why?")
        if "reasoning_content" in chunk.additional_kwargs
    ]
    assert len(thoughts) > 10
    assert "".join(thoughts) == THOUGHT * 5


class Weather(BaseModel):
    """The weather."""

    degrees: int


def test_structured_output_is_read_after_inline_thoughts(own, own_server):
    for method in ("json_schema", "json_mode"):
        own_server.reply('<think>{"degrees": 1}?</think>\n{"degrees": 22}')
        assert own().with_structured_output(Weather, method=method).invoke("hi").degrees == 22


def test_inline_thoughts_are_replayed_and_left_out_like_others(own, own_server):
    own_server.reply(f"<think>{THOUGHT}</think>Air.")
    asked = [HumanMessage("why?"), own().invoke("why?"), HumanMessage("and?")]
    own().invoke(asked)
    assert own_server.last_request.body["messages"][1] == {"role": "assistant", "content": "Air."}
    own(replay_reasoning=True).invoke(asked)
    assert own_server.last_request.body["messages"][1]["reasoning_content"] == THOUGHT
