"""Patterns of the texts of errors, for what the status does not say; one per line.

A comment beside or above a pattern names servers that send it; the tests have a sample body for
each. A pattern is a phrase rather than a word, because "balance" is also part of "load balancer",
and a tool's description may be "too long", too. Case does not matter. A pattern is searched for in
the codes and the message of an error, each on a separate line.
"""

from __future__ import annotations

import functools
import re

_LIMIT = r"context[ _](?:length|window|size|limit)"
_FUNDS = r"(?:credits?|balance|funds)"
_GONE = r"(?:too low|insufficient|not enough|exhausted|depleted|used up)"
_NOT = r"(?: cannot| should not| has)?"
_COUNT = r"(?: \(?[\d,]+(?: \w+)?\)?)?"
# Azure, OpenAI, Groq, LiteLLM; GitHub Models
TRY_AGAIN = r"(?:(?:try|retry)(?: again)? (?:in|after)|please wait) (?:about |~)?"

OVERFLOWS = (
    # OpenAI (Responses), Anthropic, llama.cpp (also its code), llama-cpp-python, LiteLLM, Ollama
    rf"exceed\w*[ _](?:\S+ ){{0,6}}{_LIMIT}",
    # OpenAI's code, also of Groq, Cerebras and others; MiniMax, z.ai
    rf"{_LIMIT}(?:[ _](?:was|is|has|been))*[ _]exceed",
    r"maximum context (?:length|window)",  # OpenAI, vLLM, DeepSeek, OpenRouter, Mistral
    r"ContextWindowExceededError",  # LiteLLM, at the beginning of messages
    r"longer than the maximum model length",  # vLLM
    r"(?:longer|greater) than the (?:model's )?context length",  # SGLang, Together, LM Studio
    r"maximum prompt length is",  # xAI
    rf"prompt(?: \([^)]*\)|{_COUNT})(?: is)? too (?:long|large)",  # Anthropic, vLLM, Atlas
    # Bedrock, Replicate, SiliconFlow, FastDeploy; not "stop input"
    r"(?:^|[:.] )(?:(?:the|your|total) )?input (?:text )?is too (?:long|large)",
    r"length of all messages is too long",  # Perplexity
    r"(?:prompt|tokens|characters)_too_long",  # Qianfan's codes
    r"(?:prompt|input)(?: tokens?| length)+ too long",  # Qianfan, Hunyuan, Moonshot
    r"max(?:imum)? input characters",  # Qianfan
    # SGLang, Gemini, OpenAI (Responses), GitHub Copilot, GLM, Databricks, TensorRT-LLM
    rf"(?:prompt|input)(?: (?:prompt|tokens?|length|count)){{1,4}}(?: of)?{_COUNT}{_NOT} exceed",
    r"max_(?:seq|input|model)_len\b",  # SiliconFlow, TabbyAPI, TensorRT-LLM, FastDeploy, vLLM
    r"token count is \d+ but",  # Vertex
    # Zhipu, Bedrock
    r"(?:prompt|input) exceeds? (?:the )?max(?:imum)? (?:\w+ )?(?:length|tokens?)",
    r"reduce the length of the (?:messages|prompt|input)",  # Groq, Cerebras
    r"range of input length should be",  # DashScope
    r"exceeded model token limit",  # Moonshot
    r"too many (?:input|prompt) tokens",  # Bedrock
    r"tokens_limit_reached",  # GitHub Models' code
    r"too many tokens(?: in the prompt|:)|tokens in the prompt cannot exceed",  # Cohere
    # Volcengine
    r"tokens in request more than max tokens allowed",
    r"tokens of image and text exceed max",
    r"\d tokens?, but the configured context size is",  # DS4
    # TGI
    r"tokens \+ `max_new_tokens` must be <=",
    r"`?inputs`? must have less than",
    # LM Studio
    r"when context the overflows",
    r"cannot truncate prompt with n_keep",
    r"reached context length of",
    # vLLM, if the prompt is longer than the context
    r"max_tokens must be at least 1, got -\d",
    r"'messages\[\d+\]\.content(?:\[\d+\]\.text)?': string too long",  # OpenAI
    # Qianfan and servers behind it
    r"上下文(?:长度|窗口|限制)",
    r"(?:输入|prompt) ?(?:内容|文本)?(?:过长|超长)|输入长度超|超出最大长度",
)
"""The prompt, or the prompt and `max_tokens` together, do not fit into the model's context."""

EXHAUSTED_FUNDS = (
    # OpenAI, Azure, Gemini, DashScope, Moonshot, New API
    r"insufficient[ _](?:user[ _])?quota",
    r"exceeded[ _](?:your[ _])?current[ _]quota",
    # AI/ML API, DeepSeek, OpenAI, Together, Qianfan's search, Vercel, Continue
    rf"\b(?:insufficient|not enough|no|out of)[ _](?:(?:your|account|available)[ _])*{_FUNDS}\b",
    r"n't have any credits",  # xAI, a new team
    # Anthropic, SiliconFlow, Zhipu, OpenAI's code, Genspark
    rf"{_FUNDS}[ _](?:is |are |has been |have been )?{_GONE}",
    r"overdue ?(?:balance|error)|\barrearage",  # Volcengine, DashScope
    # OpenRouter
    r"(?:requires?|needs?) more credits",
    r"key limit exceeded",
    r"spending (?:limit|cap)",  # xAI, Gemini, Fireworks
    r"package has expired|套餐已到期",  # z.ai, Zhipu
    r"please top[ -]?up|top[ -]?up your|update your payment method",  # AI/ML API
    r"billing[ _](?:hard[ _]limit|not[ _]active)",  # OpenAI
    r"requires billing to be enabled",  # Google
    # LiteLLM, OpenRouter
    r"budget[_ ](?:has been |limit )?exceeded|exceeded ?budget|crossed budget",
    r"credit limit (?:exceeded|reached)",  # Together, OpenRouter
    r"quota is not enough|预扣费额度失败",  # New API, where a call would cost more than is left
    r"余额不足|欠费|额度(?:不足|已?用[尽完])|请(?:先|及时|您)?充值",  # Qianfan, DeepSeek, New API
)
"""The account cannot pay: waiting does not help."""

FREE_TIER = (
    # AI/ML API, Gemini (also its metrics), DashScope, Cloudflare
    r"free[-_ ](?:tier|plan|limit|allocation|(?:allocated )?quota)",
    r"free-models-per-day",  # OpenRouter
    r"免费额度",  # Qianfan, DashScope
)
"""The free allowance is used up: waiting helps after an hour or a day at the earliest."""

EXHAUSTED_QUOTAS = (
    # Google, Qianfan's search, LiteLLM, ModelScope
    r"quota(?:[ _][^\W_]+){0,3}[ _](?:exceeded|exhausted|used up|reached)",
    r"exceed\w*(?: [\w']+){0,4} quota",
    # proxies of all kinds
    r"(?:daily|weekly|monthly|hour(?:ly)?) (?:\w+ )?(?:limit|quota)",
    r"usage limit reached",  # z.ai, MiniMax
    r"配额(?:已?用[尽完]|不足|已?耗尽|超限)|超[出过]\w{0,4}配额",
)
"""A quota is used up; its period is unknown."""

RATE_LIMITS = (
    r"rate[ _-]?limit(?!error)",  # OpenAI's code, also of Groq, Qianfan, Mistral; Anthropic's type
    r"too[ _]many[ _]requests",  # nginx, Cloudflare, Hugging Face
    r"throttl(?!ing_error)",  # Bedrock, DashScope
    # OpenAI, Groq, Anthropic, Google's quotas, OpenRouter, Cohere
    r"per[ _-]?(?:second|minute)|per[ -]min\b|/ ?min(?:ute)?\b|\b(?:[rt]pm|qps)\b",
    rf"{TRY_AGAIN}\d",
    r"限流|请求(?:过于)?频繁|[频速]率(?:过快|超限|限制)",  # Qianfan, Zhipu
)
"""Too many requests or tokens in some time: waiting helps."""

LIMITS = (r"RateLimitError|throttling_error",)
"""LiteLLM's name and type of any 429; they do not say whether waiting helps."""

INVALID_KEYS = (
    r"(?:incorrect|invalid)[ _]api[ _]key",  # xAI, MiniMax
    r"api[ _]key(?: not valid| expired|_invalid)",  # Gemini
    r"expired[ _]key",  # LiteLLM
)
"""The key is wrong, which some servers report with status 400 or 200."""

UNKNOWN_MODELS = (
    r"not a valid model|model_not_found",  # OpenRouter, New API's code
    r"incorrect model id|model_not_supported",  # AIHubMix, Hugging Face's code
    r"invalid_model\b|invalid model(?: name|:)",  # Qianfan's code, LiteLLM, Mistral
    r"\bunknown[ _]model(?:[:,]|$)",  # GitHub Models, also its code; z.ai
    r"\bno such model\b",  # Cloudflare
    r"\bmodel(?: (?![a-z]+ )\S+)? not found\b",  # llama.cpp with more than one model, Open WebUI
    r"there is no 'model_name' with this string",  # LiteLLM
    r"^ModelError\b(?!:)",  # OpenCode's type
    r"\bmodel (?:does not|not) exist",  # SiliconFlow, DeepSeek
    r"model identifier is invalid",  # Bedrock
    r"no available channel for model|无可用渠道",  # New API and One API, without the code
)
"""The server does not have the model, which some report with status 400, 401 or 503."""


@functools.cache
def any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return one pattern that matches where one of `patterns` does."""
    return re.compile("|".join(patterns), re.IGNORECASE | re.MULTILINE)
