"""A tiny model of ERNIE 4.5's architecture whose responses are known, on llama.cpp's server.

The weights are computed, not trained: an embedding is a unit vector, the output layer says which
token follows which, and the attention, which is uniform, counts the keywords of the prompt. A prompt
without a keyword gets `RESPONSES[""]`. Where a grammar forbids the next token of a response, the
model takes the first of `_BYTES` that the grammar allows, so that it ends values early.

    python -m tests.support.tiny_ernie model.gguf  # writes the weights, and serves them
"""

import sys
from pathlib import Path

CONTEXT = 16_384  # tokens of one request
KEY = "tiny-key"

_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "%s"}}\n</tool_call>\n'
RESPONSES = {
    "": "The sky is blue, 因为空气散射光 🌍 — all of it.",
    "JSON": '{"name": "Paris", "people": 2100000}',
    "riddle": "<think>\nA ladder has 横档.\n</think>\n\nIt is a 梯子!",
    "weather": _CALL % "Paris" + _CALL % "London",
    "<tool_output>": "Sunny in both 城市.",
    "story": "Once upon a time, there was a mill; ",
}
"""The response to a prompt with a keyword. That to "story" repeats itself without end."""

_PIECE = 8
"""Bytes of one token of a response: some tokens end within a character."""

TEMPLATE = """\
{%- if tools %}<|im_start|>system
Tools: {% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == "tool" %}<tool_output>
{{ message.content }}
</tool_output>
{% else %}
{%- if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content or "" }}
{%- for call in message.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Tool calls and reasoning as in ERNIE-4.5-21B-A3B-Thinking."""

_SPECIAL = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
_BOS, _END = _SPECIAL.index("<s>"), _SPECIAL.index("<|im_end|>")
_KEYWORDS = [keyword for keyword in RESPONSES if keyword]
# In the order in which the model prefers them where it knows no next token.
_BYTES = bytes(dict.fromkeys([*b'"}]{<,:[0123456789', *range(33, 256), *range(33)]))

_HIDDEN, _HEADS, _KV_HEADS, _HEAD, _FEED_FORWARD = 512, 4, 2, 32, 32
# Logits, so far apart that no temperature makes a difference: of the token that follows; of a
# response's first token if the whole prompt were its keyword; of the first token without a keyword.
_NEXT, _KEYWORD, _DEFAULT = 1e12, 1e7, 1e3


def generate(path: Path) -> None:
    """Write the model, always the same, to `path` (2 MB)."""
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGUFWriter

    tokens, types, chains = _vocabulary()
    writer = GGUFWriter(path, MODEL_ARCH_NAMES[MODEL_ARCH.ERNIE4_5])
    writer.add_name("tiny-ernie")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(_HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_key_length(_HEAD)
    writer.add_value_length(_HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(500_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(_as_text(b"  "))])  # llama.cpp requires one
    writer.add_bos_token_id(_BOS)
    writer.add_eos_token_id(_END)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in _weights(tokens, chains).items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _weights(tokens, chains):
    import numpy as np

    count, first_byte = len(tokens), len(_SPECIAL) + len(_KEYWORDS)
    # The dimensions after those of the tokens: one for each keyword, and one that is always 1.
    first_keyword, one = _HIDDEN - 1 - len(_KEYWORDS), _HIDDEN - 1
    assert count <= first_keyword

    embedding = np.eye(count, _HIDDEN, dtype=np.float32)
    embedding[:, one] = 1
    output = np.zeros((count, _HIDDEN), np.float32)
    output[:, one] = -_HIDDEN
    output[first_byte : first_byte + len(_BYTES), one] = -np.arange(len(_BYTES))
    output[_END, one] = 1
    value = np.zeros((_KV_HEADS * _HEAD, _HIDDEN), np.float32)
    mixed = np.zeros((_HIDDEN, _HEADS * _HEAD), np.float32)
    for keyword, chain in chains.items():
        output[[*chain[1:], chain[0] if keyword == "story" else _END], chain] = _NEXT
        if not keyword:
            prompt_end = first_byte + _BYTES.index(b"\n")
            output[chain[0], prompt_end] = _DEFAULT
            # Where the server requires a tool call, its grammar does not let the response end.
            output[chains["weather"][0], chain[-1]] = _NEXT / 2
            continue
        index = _KEYWORDS.index(keyword)
        # Normalized, the two ones of an embedding are sqrt(HIDDEN / 2).
        value[index, tokens.index(keyword)] = (2 / _HIDDEN) ** 0.5
        mixed[first_keyword + index, index] = 1
        # What a tool returned matters more than what was asked.
        weight = 100 if keyword == "<tool_output>" else 1
        output[chain[0], first_keyword + index] = weight * _KEYWORD
    return {
        "token_embd": embedding,
        "output_norm": np.ones(_HIDDEN, np.float32),
        "output": output,
        "blk.0.attn_norm": np.ones(_HIDDEN, np.float32),
        "blk.0.attn_q": np.zeros((_HEADS * _HEAD, _HIDDEN), np.float32),
        "blk.0.attn_k": np.zeros((_KV_HEADS * _HEAD, _HIDDEN), np.float32),
        "blk.0.attn_v": value,
        "blk.0.attn_output": mixed,
        "blk.0.ffn_norm": np.ones(_HIDDEN, np.float32),
        "blk.0.ffn_gate": np.zeros((_FEED_FORWARD, _HIDDEN), np.float32),
        "blk.0.ffn_up": np.zeros((_FEED_FORWARD, _HIDDEN), np.float32),
        "blk.0.ffn_down": np.zeros((_HIDDEN, _FEED_FORWARD), np.float32),
    }


def _vocabulary():
    """Return all tokens, their types, and the indices of each response's tokens."""
    from gguf import TokenType

    tokens = [*_SPECIAL, *_KEYWORDS, *(_as_text(bytes([byte])) for byte in _BYTES), _as_text(b"  ")]
    types = [TokenType.CONTROL] * len(_SPECIAL) + [TokenType.USER_DEFINED] * len(_KEYWORDS)
    chains = {}
    for keyword, response in RESPONSES.items():
        pieces = [_as_text(piece) for piece in _pieces(response)]
        chains[keyword] = range(len(tokens), len(tokens) + len(pieces))
        tokens += pieces
    assert len(set(tokens)) == len(tokens), "the next token depends on this one alone"
    return tokens, types + [TokenType.NORMAL] * (len(tokens) - len(types)), chains


def _pieces(response):
    data = response.encode()
    return [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)]


def response_tokens(keyword: str) -> int:
    """Return the number of tokens of a response, the last of which says that it ends."""
    return len(_pieces(RESPONSES[keyword])) + 1


def prompt_tokens(text: str) -> int:
    """Return the number of tokens of a prompt that is one user message without keywords."""
    shown = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    for special in _SPECIAL:
        shown = shown.replace(special, "x")
    return len(shown.encode())


def _as_text(data: bytes) -> str:
    """Return bytes as GPT-2's tokenizer writes them: a character for each, none of them blank."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return "".join(chr(256 + hidden.index(byte) if byte in hidden else byte) for byte in data)


def serve(path: Path) -> None:
    """Serve the weights until the standard input ends; print the address in a line of its own."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_parallel = 4
    params.n_ctx = params.n_parallel * CONTEXT
    # Several threads would wait for each other.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.port = 0
    params.api_keys = [KEY]
    params.use_jinja = True
    params.warmup = False
    params.endpoint_slots = True
    server = xllamacpp.Server(params)
    sys.stdout.write(f"listening: {server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
    serve(Path(sys.argv[1]))
