"""Cases of odd chunks: deltas, their order, usage that comes here or there."""

from __future__ import annotations

from cases_stream import gives
from fault_bytes import (
    ANSWER_ID,
    DONE,
    HEL,
    LO,
    META,
    STOP,
    TAIL,
    USAGE,
    chunk,
    event,
)


def raw(**choice: object) -> bytes:
    """A chunk whose choice is exactly this."""
    return event(chunk(choices=[choice]))


def with_usage(text: str, tokens: int) -> bytes:
    usage = {"prompt_tokens": 11, "completion_tokens": tokens, "total_tokens": 11 + tokens}
    return event(chunk(text, usage=usage))


END = (STOP, TAIL, DONE)
CONTENT = (
    gives("choices empty in the middle", HEL, event(chunk(choices=[])), LO, *END),
    gives("choices null", HEL, event(chunk(choices=None)), LO, *END),
    gives("choices missing", HEL, event({"id": ANSWER_ID, "model": "x"}), LO, *END),
    gives("an event that is null", HEL, event("null"), LO, *END),
    gives("an empty object", HEL, event("{}"), LO, *END),
    gives("delta null", HEL, raw(index=0, delta=None, finish_reason=None), LO, *END),
    gives("delta missing", HEL, raw(index=0), LO, *END),
    gives(
        "finish_reason without a delta",
        HEL,
        LO,
        raw(index=0, finish_reason="stop"),
        TAIL,
        DONE,
        metadata={"finish_reason": "stop"},
    ),
    gives("content null", HEL, raw(index=0, delta={"content": None}), LO, *END),
    gives("content missing", HEL, raw(index=0, delta={"role": "assistant"}), LO, *END),
    gives(
        "content as parts",
        HEL,
        raw(index=0, delta={"content": [{"type": "text", "text": "lo"}]}),
        *END,
    ),
    gives("content without a role", raw(index=0, delta={"content": "Hello"}), *END),
    gives("index missing", raw(delta={"content": "Hello"}, finish_reason=None), *END),
    gives("index a float", raw(index=0.0, delta={"content": "Hello"}), *END),
    gives(
        "a role only at the end",
        raw(index=0, delta={"content": "Hello"}),
        raw(index=0, delta={"role": "assistant"}),
        *END,
    ),
    gives("text together with finish_reason", HEL, event(chunk("lo", "stop")), TAIL, DONE),
    gives("text after finish_reason", HEL, STOP, LO, TAIL, DONE),
    gives("finish twice", HEL, LO, STOP, STOP, TAIL, DONE, metadata={"finish_reason": "stop"}),
    gives(
        "finish_reason unknown",
        HEL,
        LO,
        event(chunk("", "tired")),
        TAIL,
        DONE,
        metadata={"finish_reason": "tired"},
    ),
    gives(
        "finish_reason empty until the end",
        event(chunk("Hello", "")),
        *END,
        metadata={"finish_reason": "stop"},
    ),
    gives(
        "text cut by length",
        HEL,
        LO,
        event(chunk("", "length")),
        TAIL,
        DONE,
        metadata={"finish_reason": "length"},
    ),
    gives(
        "two choices interleaved",
        HEL,
        raw(index=1, delta={"content": "Other"}, finish_reason=None),
        LO,
        raw(index=1, delta={"content": "wise"}, finish_reason="stop"),
        *END,
    ),
    gives(
        "the model in other words",
        event(chunk("Hello", model="Baidu/ERNIE")),
        *END,
        metadata={"id": ANSWER_ID},
    ),
    gives("ids that change", event(chunk("Hel", id="a")), event(chunk("lo", id="b")), *END),
    gives("created as a float", event(chunk("Hello", created=1.5)), *END),
    gives("unknown keys", event(chunk({"content": "Hello", "glow": {}}, sparkle=[1])), *END),
    gives("a refusal", event(chunk({"refusal": "I cannot."})), *END, text=None),
    gives("logprobs", event(chunk("Hello") | {"logprobs": None}), *END),
    gives(
        "reasoning, then text",
        event(chunk({"reasoning_content": "Hm"})),
        event(chunk({"reasoning_content": "m."})),
        HEL,
        LO,
        *END,
        reasoning="Hmm.",
    ),
    gives(
        "reasoning and text in one delta",
        event(chunk({"content": "Hel", "reasoning_content": "Hm"})),
        event(chunk({"content": "lo", "reasoning_content": "m."})),
        *END,
        reasoning="Hmm.",
    ),
    gives(
        "reasoning after the text",
        HEL,
        LO,
        event(chunk({"reasoning_content": "Hmm."})),
        *END,
        reasoning="Hmm.",
    ),
    gives(
        "reasoning null in each delta",
        event(chunk({"content": "Hello", "reasoning_content": None})),
        *END,
    ),
    gives(
        "reasoning only",
        event(chunk({"reasoning_content": "Hmm."})),
        *END,
        text="",
        reasoning="Hmm.",
    ),
)

USAGES = (
    gives("no usage", HEL, LO, STOP, DONE, usage=None),
    gives("usage null on each chunk", event(chunk("Hello", usage=None)), *END),
    gives("usage with finish_reason", HEL, LO, event(chunk("", "stop", usage=USAGE)), DONE),
    gives("usage twice", HEL, LO, STOP, TAIL, TAIL, DONE),
    gives("usage before finish_reason", HEL, LO, TAIL, STOP, DONE),
    gives(
        "usage as running totals",
        with_usage("Hel", 3),
        with_usage("lo", 5),
        event(chunk("", "stop", usage=USAGE)),
        DONE,
    ),
    gives(
        "usage as floats",
        HEL,
        LO,
        STOP,
        event(chunk(choices=[], usage={k: v + 0.0 for k, v in USAGE.items()})),
        DONE,
    ),
    gives(
        "usage details null",
        HEL,
        LO,
        STOP,
        event(chunk(choices=[], usage=USAGE | {"completion_tokens_details": None})),
        DONE,
    ),
    gives(
        "meta alone, without choices",
        HEL,
        LO,
        STOP,
        event(chunk(choices=[], usage=USAGE)),
        event({"meta": META}),
        DONE,
        metadata={"credits_used": 3, "usd_spent": 0.0000015},
    ),
    gives(
        "meta twice", HEL, LO, STOP, TAIL, event({"meta": META}), DONE, metadata={"credits_used": 3}
    ),
    gives(
        "meta null on each chunk",
        event(chunk("Hello", meta=None)),
        *END,
        metadata={"credits_used": 3},
    ),
    gives(
        "meta with finish_reason",
        HEL,
        LO,
        event(chunk("", "stop", usage=USAGE, meta=META)),
        DONE,
        metadata={"credits_used": 3},
    ),
    gives(
        "usage after [DONE] is not waited for",
        HEL,
        LO,
        STOP,
        DONE,
        TAIL,
        usage=None,
    ),
)


def texts(*pieces: str) -> list[bytes]:
    return [event(chunk(piece)) for piece in pieces]


ERNIE = "<think>\nhm\n</think>\n\n<response>\nParis\n</response>"
TAGS = (
    gives("ERNIE's tags", *texts(ERNIE), *END, text="Paris", reasoning="hm"),
    gives("ERNIE's tags in single characters", *texts(*ERNIE), *END, text="Paris", reasoning="hm"),
    gives(
        "blank lines after </think>",
        *texts("<think>hm", "</think>", *"\n" * 20, "Paris\n"),
        *END,
        text="Paris\n",
        reasoning="hm",
    ),
    gives(
        "<response> without <think>",
        *texts("<resp", "onse>\nParis\n</response>"),
        *END,
        text="<response>\nParis\n</response>",
    ),
    gives("white space and nothing else", *texts(*"\n \t" * 9), *END, text="\n \t" * 9),
    gives(
        "white space before the text", *texts(*"\n" * 20, "Paris"), *END, text="\n" * 20 + "Paris"
    ),
)

CASES = (*CONTENT, *USAGES, *TAGS)
