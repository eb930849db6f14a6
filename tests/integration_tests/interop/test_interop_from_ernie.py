"""Conversations that ERNIE began, as the other packages' own converters would send them on.

Nothing is sent: each package is asked for the payload that it would send. What they make of it is
compared with what was said, called and answered.

Messages with plain content, which is the default, are taken by all of them. What they do worse is
theirs to mend, and as bad for the messages of every other provider: langchain-mistralai (1.1) drops
the text beside tool calls, and sends the blocks of v1 content as they are where one text would do;
langchain-openai (1.7) makes reasoning items without an id for Responses of the reasoning blocks of
v1 content, whoever made them; core (1.7) leaves a `tool_call_chunk` in streamed v1 content where a
call is broken, and langchain-openai sends it.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import (
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_openai_messages,
    messages_from_dict,
    messages_to_dict,
)
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_mistralai import ChatMistralAI
from langchain_openai import ChatOpenAI

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")

THINKING = "baidu/ernie-4.5-21b-a3b-thinking"
WHOLE = {"name": "weather", "args": {"city": "Köln"}, "id": "call_1"}
OTHER = {"name": "weather", "args": {"city": "北京"}, "id": "call_2"}
BROKEN = {"name": "weather", "args": '{"city": "北', "id": "call_2"}
THOUGHTS = "Two cities, two calls."
FORMS = {
    "v0": {},
    "v0 streamed": {"streaming": True},
    "v1": {"output_version": "v1"},
    "v1 streamed": {"output_version": "v1", "streaming": True},
    "v3": {},
}


class Seen(NamedTuple):
    """What a payload says, in every provider's own words.

    `calls` are (id, name, arguments), `results` (id of the call, text); `kinds` the types of blocks
    or items.
    """

    texts: list[str]
    calls: list[tuple[str, str, object]]
    results: list[tuple[str, str]]
    kinds: set[str]


def see_anthropic(messages) -> Seen:
    payload = ChatAnthropic(model="claude-sonnet-4-5", api_key="x")._get_request_payload(messages)
    seen = Seen([payload["system"]], [], [], set())
    for message in payload["messages"]:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            seen.kinds.add(block["type"])
            if block["type"] == "text":
                assert block.keys() == {"type", "text"}
                seen.texts.append(block["text"])
            if block["type"] == "tool_use":
                assert block.keys() == {"type", "id", "name", "input"}
                seen.calls.append((block["id"], block["name"], block["input"]))
            if block["type"] == "tool_result":
                seen.results.append((block["tool_use_id"], block["content"]))
    return seen


def see_openai(messages) -> Seen:
    return _see_chat(
        ChatOpenAI(model="gpt-5", api_key="x")._get_request_payload(messages)["messages"]
    )


def see_mistral(messages) -> Seen:
    model = ChatMistralAI(model="mistral-large-latest", api_key="x")
    return _see_chat(model._create_message_dicts(messages, None)[0])


def see_core(messages) -> Seen:
    """What core itself makes of messages, for the many packages that go by it."""
    return _see_chat(convert_to_openai_messages(messages))


def _see_chat(messages) -> Seen:
    seen = Seen([], [], [], set())
    for message in messages:
        assert message.keys() <= {"role", "content", "name", "tool_calls", "tool_call_id"}
        content = message["content"] or ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        seen.kinds.update(part["type"] for part in parts)
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        if message["role"] == "tool":
            seen.results.append((message["tool_call_id"], text))
        elif text:
            seen.texts.append(text)
        for call in message.get("tool_calls", ()):
            function = call["function"]
            seen.calls.append((call["id"], function["name"], _parsed(function["arguments"])))
    return seen


def see_responses(messages) -> Seen:
    llm = ChatOpenAI(model="gpt-5", api_key="x", use_responses_api=True)
    seen = Seen([], [], [], set())
    for item in llm._get_request_payload(messages)["input"]:
        seen.kinds.add(item["type"])
        if item["type"] == "message":
            content = item["content"]
            parts = [{"text": content}] if isinstance(content, str) else content
            seen.texts.append("".join(part["text"] for part in parts))
        if item["type"] == "function_call":
            assert item.keys() == {"type", "call_id", "name", "arguments"}
            seen.calls.append((item["call_id"], item["name"], _parsed(item["arguments"])))
        if item["type"] == "function_call_output":
            seen.results.append((item["call_id"], item["output"]))
    return seen


def see_gemini(messages) -> Seen:
    """Gemini pairs calls and results by their names and order; results stand in for the ids."""
    llm = ChatGoogleGenerativeAI(model="gemini-3-pro-preview", api_key="x")
    request = llm._prepare_request(messages)
    seen = Seen([], [], [], set())
    for content in [request["config"].system_instruction, *request["contents"]]:
        for part in content.parts:
            assert not part.thought
            if part.text is not None:
                seen.texts.append(part.text)
            if part.function_call:
                call = part.function_call
                seen.calls.append((f"call_{len(seen.calls) + 1}", call.name, call.args))
                seen.kinds.add("signed" if part.thought_signature else "unsigned")
            if part.function_response:
                result = part.function_response
                assert result.name == "weather"
                identity = f"call_{len(seen.results) + 1}"
                seen.results.append((identity, str(result.response["output"])))
    return seen


def _parsed(arguments):
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


@pytest.fixture(params=FORMS)
def said(request, model, ernie_server):
    """Let ERNIE answer in one of the forms that its messages have; give the conversation."""
    llm = model(model=THINKING, **FORMS[request.param])

    def answer(messages):
        if request.param == "v3":
            return llm.stream_events(messages, version="v3").output
        return llm.invoke(messages)

    def said(*calls):
        told = [SystemMessage("Be brief."), HumanMessage("Weather?")]
        if calls:
            ernie_server.reply("I look.", reasoning=THOUGHTS, tool_calls=calls)
            told.append(answer(told))
            told += [
                ToolMessage(f"result {call['id']}", tool_call_id=call["id"], name="weather")
                for call in calls
            ]
        ernie_server.reply("Sun.", reasoning="Good to know.")
        told.append(answer(told))
        return [*told, HumanMessage("Thanks.")]

    said.is_list = request.param.startswith(("v1", "v3"))
    return said


PLAIN = ["Be brief.", "Weather?", "Sun.", "Thanks."]
PLAIN_CONTENT = pytest.mark.parametrize("said", ["v0", "v0 streamed"], indirect=True)
WITH_CALLS = ["Be brief.", "Weather?", "I look.", "Sun.", "Thanks."]


@PLAIN_CONTENT
def test_mistral_takes_a_conversation_in_plain_content(said):
    seen = see_mistral(said())
    assert seen.texts == PLAIN
    assert seen.kinds == {"text"}


@pytest.mark.parametrize("see", [see_anthropic, see_openai, see_responses, see_gemini])
def test_texts_are_taken_and_thoughts_are_not(said, see):
    seen = see(said())
    assert seen.texts == PLAIN
    if not (said.is_list and see is see_responses):
        assert "Good to know." not in repr(seen)
        assert seen.kinds <= {"text", "message"}
    assert seen.calls == seen.results == []


@pytest.mark.parametrize("see", [see_anthropic, see_openai, see_responses, see_gemini])
def test_calls_are_taken_with_their_results(said, see):
    seen = see(said(WHOLE, OTHER))
    assert seen.texts == WITH_CALLS
    assert seen.calls == [
        ("call_1", "weather", {"city": "Köln"}),
        ("call_2", "weather", {"city": "北京"}),
    ]
    assert seen.results == [("call_1", "result call_1"), ("call_2", "result call_2")]
    allowed = {
        see_anthropic: {"text", "tool_use", "tool_result"},
        see_openai: {"text"},
        see_responses: {"message", "function_call", "function_call_output"}
        | ({"reasoning"} if said.is_list else set()),
        see_gemini: {"signed", "unsigned"},
    }
    assert seen.kinds <= allowed[see]


def test_gemini_signs_the_first_call_of_a_turn_that_was_not_its_own(said):
    """Gemini 3 refuses calls without a signature; its package has one for calls of others."""
    *before_the_answer, _, _ = said(WHOLE)
    assert see_gemini(before_the_answer).kinds == {"signed"}


def test_mistral_takes_calls_with_their_results_under_ids_of_its_own_form(said):
    seen = see_mistral(said(WHOLE, OTHER))
    assert [call[1:] for call in seen.calls] == [
        ("weather", {"city": "Köln"}),
        ("weather", {"city": "北京"}),
    ]
    assert [identity for identity, *_ in seen.calls] == [identity for identity, _ in seen.results]
    assert [text for _, text in seen.results] == ["result call_1", "result call_2"]
    assert {len(identity) for identity, _ in seen.results} == {9}
    assert seen.texts[-1] == "Thanks."


@pytest.mark.parametrize("see", [see_anthropic, see_openai, see_responses, see_mistral])
def test_a_broken_call_is_taken_with_the_answer_to_it(said, see):
    seen = see(said(WHOLE, BROKEN))
    assert [name for _, name, _ in seen.calls] == ["weather", "weather"]
    assert [identity for identity, *_ in seen.calls] == [identity for identity, _ in seen.results]
    assert [text for _, text in seen.results] == ["result call_1", "result call_2"]


def test_gemini_leaves_a_broken_call_out_and_the_answer_to_it(said):
    seen = see_gemini(said(WHOLE, BROKEN))
    assert seen.calls == [("call_1", "weather", {"city": "Köln"})]
    assert seen.results == [("call_1", "result call_1")]


@PLAIN_CONTENT
def test_plain_content_is_what_core_and_all_that_follow_it_take(said):
    seen = see_core(said(WHOLE, OTHER))
    assert seen.texts == WITH_CALLS
    assert seen.kinds == {"text"}
    assert [identity for identity, *_ in seen.calls] == [identity for identity, _ in seen.results]


@pytest.mark.parametrize("see", [see_anthropic, see_openai, see_responses, see_gemini])
def test_a_stored_conversation_is_taken_the_same(said, see):
    told = said(WHOLE, OTHER)
    stored = messages_from_dict(json.loads(json.dumps(messages_to_dict(told))))
    assert see(stored) == see(told)


async def test_two_packages_take_turns_in_one_conversation(model, ernie_server):
    def weather(city: str) -> str:
        """Tell the weather of a city."""
        return f"{city}: sun"

    openai = ChatOpenAI(
        model="baidu/ernie-5.0",
        base_url=ernie_server.base_url,
        api_key=ernie_server.api_key,
        max_retries=0,
    )
    told = [SystemMessage("Be brief.")]
    turns = [openai, model(), openai, model(output_version="v1"), openai, model(streaming=True)]
    for number, llm in enumerate(turns):
        told.append(HumanMessage(f"Question {number}"))
        identity = f"call_{number}"
        ernie_server.reply("I look.", tool_calls=[{**WHOLE, "id": identity}])
        told.append(llm.bind_tools([weather]).invoke(told))
        told.append(ToolMessage(f"result {number}", tool_call_id=identity))
        ernie_server.reply(f"Answer {number}")
        told.append(llm.bind_tools([weather]).invoke(told))
        assert told[-1].text == f"Answer {number}"
    sent = ernie_server.last_request.body["messages"]
    assert [each["content"] for each in sent if each["role"] == "tool"] == [
        f"result {number}" for number in range(6)
    ]
    assert [each["content"] for each in sent if each["role"] == "user"] == [
        f"Question {number}" for number in range(6)
    ]
    providers = [each.response_metadata["model_provider"] for each in told if each.type == "ai"]
    assert providers == ["openai", "openai", "aimlernie", "aimlernie"] * 3
