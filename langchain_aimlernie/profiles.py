"""Capabilities and limits of each ERNIE model on the AI/ML API.

One row per model. Sources: context sizes from the provider's model database, request fields and
message parts from the OpenAPI file of each model's reference page, function calling and reasoning
from the provider's lists of models with these capabilities (docs.aimlapi.com, August 2026), open
weights and release dates from Baidu's announcements. Profiles have no output limits and no dates of
updates, which are not published, and no status, which changes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple, cast

from langchain_core.language_models import ModelProfile

__all__ = ["DEFAULT_MODEL", "PROVIDER", "ModelSpec", "find_model", "is_published", "model_profile"]

DEFAULT_MODEL = "baidu/ernie-4.5-21b-a3b"

PROVIDER = "aimlernie"
"""`response_metadata["model_provider"]` of every message, and LangSmith's `ls_provider`."""

_PREFIX = "baidu/"
_TEXT = frozenset({"text"})
_MEDIA = frozenset({"text", "image_url", "file"})

_SHARED_FIELDS = frozenset(
    (
        *("model", "messages", "stream", "stream_options", "max_tokens", "temperature", "top_p"),
        *("seed", "stop", "frequency_penalty", "presence_penalty", "response_format"),
        *("tools", "tool_choice", "parallel_tool_calls"),
    )
)
_FIELDS = _SHARED_FIELDS | {"max_completion_tokens", "prediction"}
_THINKING_FIELDS = {"enable_thinking", "thinking_budget"}
_FIELDS_5_0 = _SHARED_FIELDS | _THINKING_FIELDS | {"provider", "normalize_tool_schemas"}

# "Announcing the Open Source Release of the ERNIE 4.5 Model Family", 2025-06-30:
# https://ernie.baidu.com/blog/posts/ernie4.5/
_OPENED = (
    *("ernie-4.5-0.3b", "ernie-4.5-21b-a3b", "ernie-4.5-300b-a47b", "ernie-4.5-300b-a47b-paddle"),
    *("ernie-4.5-vl-28b-a3b", "ernie-4.5-vl-424b-a47b"),
)
_RELEASED = {
    **dict.fromkeys(_OPENED, "2025-06-30"),
    # Announced at Create 2025, WAVE SUMMIT 2025, Baidu World 2025 and ERNIE Moment 2026.
    "ernie-4-5-turbo-128k": "2025-04-25",
    "ernie-x1-turbo-32k": "2025-04-25",
    "ernie-x1-1-preview": "2025-09-09",
    "ernie-5-0-thinking-preview": "2025-11-13",
    "ernie-5.0": "2026-01-22",
}
# Later ones are at https://huggingface.co/collections/baidu/ernie-45. For the others Baidu does not
# say whether the weights will be published.
_OPEN_WEIGHTS = {*_OPENED, "ernie-4.5-21b-a3b-thinking", "ernie-4.5-vl-28b-a3b-thinking"}


class ModelSpec(NamedTuple):
    """What a request to a model may contain; the defaults forbid nothing.

    Attributes:
        id: Canonical id; for a model that is not in the table, the id as given.
        known: Whether the model is in the table.
        context: Context window in tokens.
        parts: Types of content part that a user message may contain.
        any_formats: Whether images and files may have formats that the API does not list.
        file_ids: Whether a file may be given by the id of an upload.
        developer_role: Whether messages may have the role `developer`.
        fields: Request fields of the published schema; `None` where none is published.
        reasoning: Whether responses have `reasoning_content`.
        thinking_switch: Whether `enable_thinking` and `thinking_budget` are request fields.
        forced_tool_choice: Whether `tool_choice` can require a call of any or of a named tool.
        tools: Whether the provider lists function calling.
        cache_control: Whether content parts and tools may have `cache_control`.
        profile: LangChain's profile of the model; `model_profile` returns a copy.
    """

    id: str
    known: bool = False
    context: int | None = None
    parts: frozenset[str] = _MEDIA | {"audio", "video"}
    any_formats: bool = True
    file_ids: bool = True
    developer_role: bool = False
    fields: frozenset[str] | None = None
    reasoning: bool = False
    thinking_switch: bool = True
    forced_tool_choice: bool = True
    tools: bool = True
    cache_control: bool = False
    profile: ModelProfile | None = None

    def on_other_server(self) -> ModelSpec:
        """Return the spec of the same model on a server other than the AI/ML API.

        Request fields, formats of media and a forced `tool_choice` are limits of the API. Limits of
        the weights remain: a text model takes no images; ERNIE 4.5 VL takes images and video, but
        no audio.
        """
        return self._replace(
            parts=self.parts if self.parts == _TEXT else self.parts | {"video"},
            any_formats=True,
            file_ids=True,
            fields=None,
            thinking_switch=True,
            forced_tool_choice=True,
        )


def _profile(spec: ModelSpec, name: str) -> ModelProfile:
    model, media = spec.id.removeprefix(_PREFIX), spec.parts == _MEDIA
    profile: dict[str, Any] = {
        "name": name,
        "max_input_tokens": spec.context,
        # Messages keep their order. Every published schema has `response_format` with
        # `json_schema`.
        **dict.fromkeys(("text_inputs", "text_outputs", "temperature", "structured_output"), True),
        "mid_conversation_system_messages": True,
        "mid_conversation_tools": False,  # the API takes tools in the request's list only
        # A tool message takes text only; media of a result are sent after it, in a user message.
        **dict.fromkeys(("image_inputs", "image_url_inputs", "image_tool_message"), media),
        **dict.fromkeys(("pdf_inputs", "pdf_tool_message", "attachment"), media),
        **dict.fromkeys(("audio_inputs", "video_inputs"), False),
        **dict.fromkeys(("image_outputs", "audio_outputs", "video_outputs"), False),
        "reasoning_output": spec.reasoning,
    }
    if model in _RELEASED:
        profile["release_date"] = _RELEASED[model]
    if model in _OPEN_WEIGHTS:
        profile["open_weights"] = True
    if spec.tools or spec.thinking_switch:
        # 5.0 is not in the list of models with function calling, but its schema has an extra field
        # for tools. The schemas of the others accept tools, but nothing says that they work: their
        # profiles lack the three keys, which LangChain reads as "not known".
        profile["tool_calling"] = profile["tool_call_streaming"] = True
        profile["tool_choice"] = spec.forced_tool_choice
    return cast("ModelProfile", profile)


def _row(model: str, name: str, context: int, features: str = "") -> ModelSpec:
    """Return the spec of a model with these features.

    They are "media", "reasoning", "tools", "provider" (a request field that selects one) and "5.0"
    (the request fields of that model).
    """
    has = {*features.split()}
    fields = _FIELDS_5_0 if "5.0" in has else _FIELDS | ({"provider"} & has)
    spec = ModelSpec(
        id=_PREFIX + model,
        known=True,
        context=context,
        parts=_MEDIA if "media" in has else _TEXT,
        any_formats=False,
        file_ids="5.0" in has,
        developer_role="5.0" in has,
        fields=fields,
        reasoning="reasoning" in has,
        thinking_switch=fields >= _THINKING_FIELDS,
        # The schemas of the reasoning models list `required` and named functions, too, but it is
        # not documented whether ERNIE obeys them; other vendors reject them ("Thinking mode does
        # not support this tool_choice").
        forced_tool_choice="reasoning" not in has,
        tools="tools" in has,
        cache_control="5.0" in has,
    )
    return spec._replace(profile=_profile(spec, name))


_ROWS = (
    _row("ernie-4.5-21b-a3b", "ERNIE 4.5 21B A3B", 120_000, "tools"),
    _row(
        "ernie-4.5-21b-a3b-thinking",
        "ERNIE 4.5 21B A3B Thinking",
        131_000,
        "reasoning tools provider",
    ),
    _row("ernie-4.5-0.3b", "ERNIE 4.5 0.3B", 120_000),
    _row("ernie-4.5-300b-a47b", "ERNIE 4.5 300B A47B", 123_000, "tools provider"),
    _row("ernie-4.5-300b-a47b-paddle", "ERNIE 4.5 300B A47B Paddle", 123_000),
    _row("ernie-4.5-vl-28b-a3b", "ERNIE 4.5 VL 28B A3B", 30_000, "media tools"),
    # Its page calls it "a non-reasoning variant".
    _row("ernie-4.5-vl-424b-a47b", "ERNIE 4.5 VL 424B A47B", 123_000, "media tools provider"),
    _row("ernie-4-5-turbo-128k", "ERNIE 4.5 Turbo 128K", 128_000),
    _row("ernie-4-5-turbo-vl-32k", "ERNIE 4.5 Turbo VL 32K", 32_000, "media"),
    _row("ernie-4-5-8k-preview", "ERNIE 4.5 8K Preview", 8_000),
    _row("ernie-5.0", "ERNIE 5.0", 128_000, "media reasoning 5.0"),
    _row("ernie-5-0-thinking-latest", "ERNIE 5.0 Thinking", 128_000, "reasoning"),
    _row("ernie-5-0-thinking-preview", "ERNIE 5.0 Thinking Preview", 128_000, "reasoning"),
    _row("ernie-x1-turbo-32k", "ERNIE X1 Turbo 32K", 32_000, "reasoning"),
    _row("ernie-x1-1-preview", "ERNIE X1.1 Preview", 64_000, "reasoning"),
)
# Open weights that the AI/ML API does not serve; the facts are from the model card.
_VL_THINKING = _row(
    "ernie-4.5-vl-28b-a3b-thinking",
    "ERNIE 4.5 VL 28B A3B Thinking",
    131_072,
    "media reasoning tools",
)


def _normalize(model: str) -> str:
    """Return the form that all names of one model share.

    The API's aliases lack `baidu/`, its look-ups ignore case, and its reference pages have `4.5`
    where some ids have `4-5`.
    """
    return model.strip().lower().removeprefix(_PREFIX).replace(".", "-")


_SPECS = {_normalize(spec.id): spec for spec in _ROWS}

# What names of weights append to the model's: format, quantization, shard or version. Other
# suffixes are of base models or fine-tuned ones, which are different weights.
_FORMAT = (
    r"pt|paddle|gguf|mlx|awq|gptq|exl[23]|bnb|hqq|dwq|autoround|imatrix|i1|ud"
    r"|[a-z]*fp\d+|bf16|f16|f32|w?int\d+|w\d+a\d+(?:c\d+)?|\d+bits?|i?q\d|tq\d|tp\d+"
    r"|k|nl|x{0,2}[sml]|g\d+|dynamic|chat|instruct|it|latest|main|of|\d+"
)
_WEIGHTS_NAME = re.compile(
    r"(?:(?:models-+)?baidu-+)?ernie-?4-?5-(vl-)?(0-3b|21b|28b|300b|424b)(?:-a(?:3|47)b)?"
    rf"(-thinking)?(?:-(?:{_FORMAT}))*"
)


def _weights_key(name: str) -> str | None:
    """Return what identifies the weights of a model: "21b", "vl-28b-thinking"; `None`: unknown."""
    match = _WEIGHTS_NAME.fullmatch(re.sub(r"[._:@]", "-", name))
    return match and "".join(filter(None, match.groups()))


_WEIGHTS = {_weights_key(_normalize(spec.id)): spec for spec in (_VL_THINKING, *reversed(_ROWS))}


def _find_weights(model: str) -> ModelSpec | None:
    """Return the model whose open weights have this name, path or file name, or `None`.

    Hugging Face, ModelScope, llama.cpp, LM Studio, MLX and Ollama append the format in different
    ways: `-PT`, `-FP8-Paddle`, `-Q4_K_M.gguf`, `@q4_k_m`, `:21b-a3b-q4_K_M`.
    """
    for part in reversed(re.split(r"[/\\]", model.strip().lower())):
        if key := _weights_key(part):
            return _WEIGHTS.get(key)
    return None


@lru_cache(maxsize=256)
def find_model(model: str) -> ModelSpec:
    """Return the spec of `model`; never fails.

    Case, the prefix `baidu/`, and a dot or dash in a version number make no difference. Names of
    the open weights on other servers refer to the same model.

    Args:
        model: Id or alias of a model, for example `ernie-4.5-21B-a3b`, or the name of its weights,
            such as `baidu/ERNIE-4.5-21B-A3B-PT` or `ernie-4.5-21b-a3b-Q4_K_M.gguf`.

    Returns:
        The model's row; for a model that is not in the table (a new or a self-hosted one), a spec
        that forbids nothing.
    """
    return _SPECS.get(_normalize(model)) or _find_weights(model) or ModelSpec(model)


def is_published(profile: ModelProfile) -> bool:
    """Return whether a profile is exactly the one of a model in the table."""
    return any(profile == spec.profile for spec in (*_ROWS, _VL_THINKING))


def model_profile(model: str) -> ModelProfile | None:
    """Return LangChain's profile of `model`, a new copy each time, or `None` if it is unknown.

    Media that the model does not accept are an explicit `False`, since LangChain's filters ignore a
    missing key. What is not published is a missing key.

    Args:
        model: Id or alias of a model, as for `find_model`.
    """
    profile = find_model(model).profile
    return None if profile is None else profile.copy()
