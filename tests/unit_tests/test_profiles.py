"""The table of ERNIE models: published facts, names, and LangChain's profiles."""

import typing

import pytest
from langchain_core.language_models import ModelProfile

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.profiles import DEFAULT_MODEL, find_model, is_published, model_profile

# The context, and what the model can do: see media, reason, call functions, be routed to a provider.
FACTS = {
    "baidu/ernie-4.5-21b-a3b": (120_000, {"tools"}),
    "baidu/ernie-4.5-21b-a3b-thinking": (131_000, {"reasoning", "tools", "provider"}),
    "baidu/ernie-4.5-0.3b": (120_000, set()),
    "baidu/ernie-4.5-300b-a47b": (123_000, {"tools", "provider"}),
    "baidu/ernie-4.5-300b-a47b-paddle": (123_000, set()),
    "baidu/ernie-4.5-vl-28b-a3b": (30_000, {"media", "tools"}),
    "baidu/ernie-4.5-vl-424b-a47b": (123_000, {"media", "tools", "provider"}),
    "baidu/ernie-4-5-turbo-128k": (128_000, set()),
    "baidu/ernie-4-5-turbo-vl-32k": (32_000, {"media"}),
    "baidu/ernie-4-5-8k-preview": (8_000, set()),
    "baidu/ernie-5.0": (128_000, {"media", "reasoning", "provider"}),
    "baidu/ernie-5-0-thinking-latest": (128_000, {"reasoning"}),
    "baidu/ernie-5-0-thinking-preview": (128_000, {"reasoning"}),
    "baidu/ernie-x1-turbo-32k": (32_000, {"reasoning"}),
    "baidu/ernie-x1-1-preview": (64_000, {"reasoning"}),
}
OPENED = {
    *("baidu/ernie-4.5-21b-a3b", "baidu/ernie-4.5-0.3b", "baidu/ernie-4.5-vl-28b-a3b"),
    *("baidu/ernie-4.5-300b-a47b", "baidu/ernie-4.5-300b-a47b-paddle"),
    "baidu/ernie-4.5-vl-424b-a47b",
}
RELEASED = {
    **dict.fromkeys(OPENED, "2025-06-30"),
    "baidu/ernie-4-5-turbo-128k": "2025-04-25",
    "baidu/ernie-x1-turbo-32k": "2025-04-25",
    "baidu/ernie-x1-1-preview": "2025-09-09",
    "baidu/ernie-5-0-thinking-preview": "2025-11-13",
    "baidu/ernie-5.0": "2026-01-22",
}
OPEN_WEIGHTS = {*OPENED, "baidu/ernie-4.5-21b-a3b-thinking"}
ERNIE_5 = "baidu/ernie-5.0"
ERNIE_5_FIELDS = {"enable_thinking", "thinking_budget", "normalize_tool_schemas"}
OLDER_FIELDS = {"max_completion_tokens", "prediction"}
MEDIA_KEYS = (
    *("image_inputs", "image_url_inputs", "pdf_inputs", "attachment"),
    *("image_tool_message", "pdf_tool_message"),
)
UNSUPPORTED_KEYS = (
    *("audio_inputs", "video_inputs", "image_outputs", "audio_outputs", "video_outputs"),
)


@pytest.mark.parametrize("model", FACTS)
def test_spec_and_profile_match_the_published_facts(model):
    model_profile(model).clear()  # a copy
    spec, profile, (context, facts) = find_model(model), model_profile(model), FACTS[model]
    media, reasoning, is_ernie_5 = "media" in facts, "reasoning" in facts, model == ERNIE_5

    assert (spec.id, spec.known, spec.context) == (model, True, context)
    assert spec.parts == ({"text", "image_url", "file"} if media else {"text"})
    assert spec.reasoning is reasoning
    assert spec.tools is ("tools" in facts)
    # Whether a reasoning model obeys a forced choice is not published, so it is not relied on.
    assert spec.forced_tool_choice is not reasoning
    assert spec.thinking_switch is spec.developer_role is spec.file_ids is is_ernie_5
    assert {"model", "messages", "max_tokens", "stream_options", "tools", "seed"} <= spec.fields
    assert not {"n", "logprobs", "user"} & spec.fields
    assert ("provider" in spec.fields) is ("provider" in facts)
    assert ERNIE_5_FIELDS & spec.fields == (ERNIE_5_FIELDS if is_ernie_5 else set())
    assert OLDER_FIELDS & spec.fields == (set() if is_ernie_5 else OLDER_FIELDS)

    expected = {
        "max_input_tokens": context,
        "reasoning_output": reasoning,
        **dict.fromkeys(("text_inputs", "text_outputs", "temperature", "structured_output"), True),
        **dict.fromkeys(MEDIA_KEYS, media),
        # An explicit False, since LangChain's filters ignore a missing key.
        **dict.fromkeys(UNSUPPORTED_KEYS, False),
        "mid_conversation_system_messages": True,
        "mid_conversation_tools": False,
    }
    if model in RELEASED:
        expected["release_date"] = RELEASED[model]
    if model in OPEN_WEIGHTS:
        expected["open_weights"] = True
    if "tools" in facts or is_ernie_5:
        expected |= {"tool_calling": True, "tool_call_streaming": True}
        expected["tool_choice"] = not reasoning
    known = set(typing.get_type_hints(ModelProfile))  # an older core has fewer
    expected = {key: value for key, value in expected.items() if key in known}
    assert {key: value for key, value in profile.items() if key != "name"} == expected


VL_THINKING = "baidu/ernie-4.5-vl-28b-a3b-thinking"


NAMES = {  # of the API, of Baidu, and of those who quantize and serve the weights
    DEFAULT_MODEL: (
        *("ernie-4.5-21b-a3b", "baidu/ernie-4.5-21B-a3b", " BAIDU/ERNIE-4.5-21B-A3B\n"),
        *("ernie-4-5-21b-a3b", "baidu/ERNIE-4.5-21B-A3B-PT"),
        "PaddlePaddle/ERNIE-4.5-21B-A3B-Paddle",
        "unsloth/ERNIE-4.5-21B-A3B-PT-GGUF:UD-Q4_K_XL",
        "hf.co/unsloth/ERNIE-4.5-21B-A3B-PT-GGUF:Q4_K_M",
        "mlx-community/ERNIE-4.5-21B-A3B-PT-8bit",
        "baidu_ERNIE-4.5-21B-A3B-PT-Q4_K_M.gguf",
        *("ernie-4.5-21b-a3b-pt@q4_k_m", "ernie-4.5:21b-a3b-q4_K_M"),
        *("/models/ernie-4.5-21b-a3b-Q4_K_M.gguf", "/models/ERNIE-4.5-21B-A3B-PT/"),
        "/hub/models--baidu--ERNIE-4.5-21B-A3B-PT/snapshots/0123abcd",
        "hosted_vllm/baidu/ERNIE-4.5-21B-A3B-PT",
    ),
    "baidu/ernie-4.5-21b-a3b-thinking": (
        *("baidu/ERNIE-4.5-21B-A3B-Thinking", "ERNIE-4.5-21B-A3B-Thinking-PT"),
        "unsloth/ERNIE-4.5-21B-A3B-Thinking-GGUF",
    ),
    "baidu/ernie-4-5-turbo-128k": ("ernie-4.5-turbo-128k",),
    "baidu/ernie-x1-1-preview": ("ernie-x1.1-preview",),
    "baidu/ernie-5-0-thinking-latest": ("ernie-5.0-thinking-latest",),
    "baidu/ernie-5.0": ("ernie-5-0",),
    "baidu/ernie-4.5-0.3b": (
        *("baidu/ERNIE-4.5-0.3B-PT", "unsloth/ERNIE-4.5-0.3B-PT-GGUF", "ernie-4.5:0.3b"),
        r"C:\models\ERNIE-4.5-0.3B-PT-F16.gguf",
    ),
    "baidu/ernie-4.5-300b-a47b": (
        *("baidu/ERNIE-4.5-300B-A47B-PT", "baidu/ERNIE-4.5-300B-A47B-FP8-Paddle"),
        "baidu/ERNIE-4.5-300B-A47B-W4A8C8-TP4-Paddle",
        "baidu/ERNIE-4.5-300B-A47B-2Bits-TP2-Paddle",
        "ERNIE-4.5-300B-A47B-PT-Q4_K_M-00001-of-00005.gguf",
    ),
    "baidu/ernie-4.5-300b-a47b-paddle": ("baidu/ERNIE-4.5-300B-A47B-Paddle",),
    "baidu/ernie-4.5-vl-28b-a3b": ("baidu/ERNIE-4.5-VL-28B-A3B-PT",),
    VL_THINKING: (
        *("baidu/ERNIE-4.5-VL-28B-A3B-Thinking", "cyankiwi/ERNIE-4.5-VL-28B-A3B-Thinking-AWQ-8bit"),
    ),
    "baidu/ernie-4.5-vl-424b-a47b": ("baidu/ERNIE-4.5-VL-424B-A47B-Paddle",),
}


@pytest.mark.parametrize("model", NAMES)
def test_a_model_is_found_by_each_of_its_names(model):
    for name in NAMES[model]:
        assert find_model(name) is find_model(model), name
        assert find_model(name).id == model
        assert model_profile(name) == model_profile(model)
        assert ChatAimlErnie(model=name, base_url="http://localhost:1/v1").profile["name"]


def test_open_weights_that_the_api_does_not_serve_are_in_the_table():
    spec = find_model(VL_THINKING)
    assert (spec.known, spec.reasoning, spec.tools, spec.context) == (True, True, True, 131_072)
    assert "image_url" in spec.parts
    assert is_published(model_profile(VL_THINKING))


@pytest.mark.parametrize(
    "name",
    [
        *("openai/gpt-4o", "ernie-6", "", "baidu/ERNIE-4.5-21B-A3B-Base-PT", "tiny-ernie.gguf"),
        *("ERNIE-4.5-21B-A3B-Base-PT-Q4_0.gguf", "ernie-4.5-21b-a3b-medical", "ernie-4.5"),
        *("my-ernie-4.5-21b-a3b", "ernie-4.5-300b-thinking", "ernie-4.5-28b", "/", "-" * 5000),
    ],
)
def test_an_unknown_model_is_not_restricted(name):
    spec = find_model(name)
    assert (spec.id, spec.known) == (name, False)
    assert spec.fields is None
    assert spec.parts == {"text", "image_url", "file", "audio", "video"}
    assert spec.forced_tool_choice
    assert spec.thinking_switch
    assert not spec.developer_role
    assert model_profile(name) is None
