from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk

from langchain_aimlernie._response import content_blocks as _blocks

_blocks.register()
OURS = {"model_provider": "aimlernie"}
BROKEN = invalid_tool_call(name="f", args="{oops", id="2", error="broken")


def test_a_message_has_blocks_of_all_that_it_carries():
    message = AIMessage(
        "text",
        additional_kwargs={"reasoning_content": "thought"},
        tool_calls=[tool_call(name="f", args={"a": 1}, id="1")],
        invalid_tool_calls=[BROKEN],
        response_metadata=OURS,
    )
    assert message.content_blocks == [
        {"type": "reasoning", "reasoning": "thought"},
        {"type": "text", "text": "text"},
        {"type": "tool_call", "id": "1", "name": "f", "args": {"a": 1}},
        BROKEN,
    ]


def test_blocks_of_a_chunk_have_names_that_core_keeps_apart():
    chunk = AIMessageChunk(
        "text",
        additional_kwargs={"reasoning_content": "thought"},
        tool_call_chunks=[tool_call_chunk(name="f", args='{"a"', id="1", index=0)],
        response_metadata=OURS,
    )
    names = [block["index"] for block in chunk.content_blocks]
    assert names == ["lc_reasoning", "lc_text", "lc_tc_0"]


@pytest.mark.parametrize("cls", [AIMessage, AIMessageChunk])
def test_an_empty_message_has_no_blocks(cls):
    assert cls("", response_metadata=OURS).content_blocks == []


@pytest.mark.parametrize("cls", [AIMessage, AIMessageChunk])
def test_blocks_that_are_content_already_are_left_to_core(cls):
    content = [{"type": "text", "text": "a"}]
    assert cls(content, response_metadata=OURS).content_blocks == content
