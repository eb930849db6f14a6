"""Bodies of errors as servers send them, from their documentation and from public reports.

Names in the samples are shortened, numbers are kept.
"""

from __future__ import annotations

from typing import NamedTuple


def openai(message: str, code: object = None, kind: str | None = "invalid_request_error") -> dict:
    """The form of OpenAI and of most servers that speak its protocol."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def bare(message: str, code: object = None) -> dict:
    """The same without a type."""
    return {"error": {"message": message, "code": code}}


def vllm(message: str, code: int = 400, kind: str = "BadRequestError") -> dict:
    """The form of vLLM before 0.10, SGLang and Mistral."""
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def anthropic(message: str, kind: str = "invalid_request_error") -> dict:
    return {"type": "error", "error": {"type": kind, "message": message}}


def google(message: str, status: str, code: int) -> dict:
    return {"error": {"code": code, "message": message, "status": status}}


def aimlapi(message: str, status: int) -> dict:
    """The form of AI/ML API that was observed."""
    return {
        "title": "Whatever",
        "status": status,
        "message": message,
        "instance": "/v1/chat/completions",
        "requestId": "req-0001",
        "timestamp": "2026-08-30T10:00:00.000Z",
        "error": {"name": "WhateverException", "message": message},
    }


class Sample(NamedTuple):
    """An error, and what must be made of it."""

    server: str
    status: int
    body: object
    error: str
    retryable: bool = False
    headers: tuple[tuple[str, str], ...] = ()


_OVERFLOWS: tuple[tuple[str, int, object], ...] = (
    (
        "OpenAI",
        400,
        openai(
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens "
            "(1000 in the messages, 4000 in the completion). Please reduce the length of the "
            "messages or completion.",
            "context_length_exceeded",
        ),
    ),
    ("OpenAI, only the code", 400, openai("Bad request", "context_length_exceeded")),
    (
        "OpenAI, Responses",
        400,
        openai("Your input exceeds the context window of this model. Please adjust your input."),
    ),
    (
        "OpenAI, configured limit",
        400,
        openai("Input tokens exceed the configured limit of 272000 tokens."),
    ),
    (
        "OpenAI, one message",
        400,
        openai(
            "Invalid 'messages[1].content': string too long. Expected a string with maximum length "
            "10485760, but got a string with length 11275130 instead.",
            "string_above_max_length",
        ),
    ),
    (
        "vLLM 0.10",
        400,
        openai(
            "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum "
            "context length is 32768 tokens and your request has 29000 input tokens "
            "(4096 > 32768 - 29000).",
            400,
            "BadRequestError",
        ),
    ),
    (
        "vLLM, renderer",
        400,
        openai(
            "This model's maximum context length is 262144 tokens. However, you requested 0 output "
            "tokens and your prompt contains at least 262145 input tokens.",
            400,
            "BadRequestError",
        ),
    ),
    (
        "vLLM 0.7",
        400,
        vllm("Prompt length of 5016 is longer than the maximum model length of 4096."),
    ),
    (
        "vLLM 0.9",
        400,
        vllm(
            "The decoder prompt (length 16476) is longer than the maximum model length of 8192. "
            "Make sure that `max_model_len` is no smaller than the number of text tokens."
        ),
    ),
    (
        "vLLM 0.6",
        400,
        vllm(
            "The prompt (total length 25938) is too long to fit into the model (context length 4096)."
        ),
    ),
    (
        "vLLM, scheduler",
        400,
        vllm("Input prompt (35247 tokens) is too long and exceeds limit of 1000"),
    ),
    ("vLLM, nothing left", 400, vllm("max_tokens must be at least 1, got -186.")),
    (
        "SGLang",
        400,
        vllm("Input length (9000 tokens) exceeds the maximum allowed length (8186 tokens)."),
    ),
    (
        "SGLang, context",
        400,
        vllm("The input (61709 tokens) is longer than the model's context length (40960 tokens)."),
    ),
    (
        "llama.cpp",
        400,
        {
            "error": {
                "code": 400,
                "message": "request (144055 tokens) exceeds the available context size "
                "(131072 tokens), try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 144055,
                "n_ctx": 131072,
            }
        },
    ),
    ("llama.cpp, only the type", 400, openai("too big", 400, "exceed_context_size_error")),
    ("llama-cpp-python", 400, openai("Requested tokens (2285) exceed context window of 2048")),
    ("Ollama", 400, {"error": "prompt too long; exceeded max context length by 5123 tokens"}),
    (
        "LM Studio",
        400,
        {
            "error": "Trying to keep the first 111490 tokens when context the overflows. However, "
            "the model is loaded with context length of only 32768 tokens, which is not enough."
        },
    ),
    (
        "LM Studio, initial prompt",
        400,
        {
            "error": "The number of tokens to keep from the initial prompt is greater than the "
            "context length."
        },
    ),
    (
        "TGI",
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 1512. "
            "Given: 1000 `inputs` tokens and 1024 `max_new_tokens`",
            "error_type": "validation",
        },
    ),
    (
        "TGI, inputs",
        422,
        {
            "error": "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000",
            "error_type": "validation",
        },
    ),
    ("Anthropic", 400, anthropic("prompt is too long: 213462 tokens > 200000 maximum")),
    (
        "Anthropic, with max_tokens",
        400,
        anthropic(
            "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease "
            "input length or `max_tokens` and try again"
        ),
    ),
    (
        "Gemini",
        400,
        [
            google(
                "The input token count (1196265) exceeds the maximum number of tokens allowed "
                "(1048575).",
                "INVALID_ARGUMENT",
                400,
            )
        ],
    ),
    (
        "Mistral",
        400,
        vllm(
            "Prompt contains 40960 tokens, too large for model with 32768 maximum context length",
            kind="invalid_request_error",
        ),
    ),
    (
        "Groq",
        400,
        openai(
            "Please reduce the length of the messages or completion.", "context_length_exceeded"
        ),
    ),
    (
        "Cerebras",
        400,
        {
            "message": "Please reduce the length of the messages or completion. Current length is "
            "8677 while limit is 8192",
            "type": "invalid_request_error",
        },
    ),
    (
        "xAI",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 537812 "
            "tokens.",
        },
    ),
    ("Bedrock", 400, {"message": "Input is too long for requested model."}),
    (
        "Bedrock, count",
        400,
        {
            "message": "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input "
            "token count: 9000"
        },
    ),
    (
        "Cohere",
        400,
        {
            "message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - "
            "received 4292."
        },
    ),
    (
        "OpenRouter",
        400,
        {
            "error": {
                "message": "This endpoint's maximum context length is 200000 tokens. However, you "
                "requested about 250000 tokens.",
                "code": 400,
            }
        },
    ),
    (
        "LiteLLM",
        400,
        openai("litellm.ContextWindowExceededError: litellm.BadRequestError: no.", "400", None),
    ),
    (
        "Together",
        422,
        openai("Input (70000 tokens) is longer than the model's context length (65536 tokens)."),
    ),
    ("Perplexity", 400, openai("The total length of all messages is too long.", 400)),
    (
        "GitHub Copilot",
        400,
        openai("prompt token count of 130000 exceeds the limit of 128000", "model_max_prompt"),
    ),
    (
        "GLM behind a hub",
        400,
        openai(
            "Input length 877338 exceeds the maximum allowed input length of 639968 tokens", "400"
        ),
    ),
    ("Zhipu", 400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}),
    ("z.ai", 400, openai("no", "model_context_window_exceeded")),
    ("MiniMax", 400, openai("invalid params, context window exceeds limit (2013)")),
    (
        "Moonshot",
        400,
        openai("Your request exceeded model token limit: 131072 (requested: 140000)"),
    ),
    (
        "DashScope",
        400,
        openai(
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]"
        ),
    ),
    (
        "Volcengine",
        400,
        openai(
            "Total tokens of image and text exceed max: tokens in request more than max tokens allowed"
        ),
    ),
    (
        "DS4",
        400,
        openai("Prompt has 70000 tokens, but the configured context size is 65536 tokens"),
    ),
    ("Qianfan, tokens", 400, openai("Prompt tokens too long", "other")),
    ("Qianfan, only the code", 400, openai("no", "tokens_too_long")),
    ("Qianfan, characters", 400, openai("the max input characters is 516096", "other")),
    (
        "Qianfan, version 1",
        400,
        {"error_code": 336007, "error_msg": "the max input characters is 20000"},
    ),
    ("Chinese, input", 400, openai("输入过长 请缩短后重试")),
    ("Chinese, context", 400, openai("超出模型最大上下文长度限制")),
    ("AI/ML API", 400, aimlapi("This model's maximum context length is 120000 tokens", 400)),
    ("AI/ML API, 413", 413, aimlapi("maximum context length exceeded", 413)),
    ("a gateway, 422", 422, {"detail": "Too many tokens in the prompt"}),
)

OVERFLOWS = tuple(
    Sample(server, status, body, "ContextWindowExceededError")
    for server, status, body in _OVERFLOWS
)
"""At least one for each wording of the package."""

_REFUSALS: tuple[tuple[str, int, object], ...] = (
    (
        "OpenAI, output",
        400,
        openai("max_tokens is too large: 100000. This model supports at most 4096."),
    ),
    (
        "OpenAI, tool description",
        400,
        openai(
            "Invalid 'tools[0].function.description': string too long. Expected a string with "
            "maximum length 1024, but got a string with length 1297 instead.",
            "string_above_max_length",
        ),
    ),
    (
        "OpenAI, id of a call",
        400,
        openai(
            "Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string with maximum "
            "length 40, but got a string with length 52 instead.",
            "string_above_max_length",
        ),
    ),
    ("tool description", 400, openai("Tool description text is too long")),
    ("stop", 400, openai("stop input is too long")),
    ("images", 400, openai("The maximum input images per request is 10")),
    ("vLLM, images", 400, vllm("At most 5 image(s) may be provided in one request.")),
    (
        "vLLM, image",
        400,
        vllm(
            "The decoder prompt contains a(n) image item with length 4200, which exceeds the "
            "pre-allocated encoder cache size 3721."
        ),
    ),
    ("vLLM, max_tokens", 400, vllm("max_tokens must be at least 1, got 0.")),
    ("TGI, output", 422, {"error": "Input validation error: `max_new_tokens` must be <= 192"}),
    (
        "Anthropic, output",
        400,
        anthropic(
            "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens"
        ),
    ),
    (
        "Anthropic, image",
        400,
        anthropic("messages.0.content.1.image.source.base64: image exceeds 5 MB maximum"),
    ),
    (
        "Gemini, output",
        400,
        google(
            "Unable to submit request because it has a maxOutputTokens value of 100000 but the "
            "supported range is from 1 (inclusive) to 8193 (exclusive).",
            "INVALID_ARGUMENT",
            400,
        ),
    ),
    (
        "DeepSeek, output",
        400,
        openai("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
    ),
    (
        "Groq, tokens a minute",
        413,
        openai(
            "Request too large for model `llama-3.1-8b-instant` on tokens per minute (TPM): Limit "
            "6000, Requested 12328, please reduce your message size and try again. Need more tokens? "
            "Upgrade to Dev Tier today at https://console.groq.com/settings/billing",
            "rate_limit_exceeded",
            "tokens",
        ),
    ),
    ("nginx, 413", 413, "<html><head><title>413 Request Entity Too Large</title></head></html>"),
    (
        "FastAPI",
        422,
        {
            "detail": [
                {"type": "string_too_long", "loc": ["body", "user"], "msg": "String too long"}
            ]
        },
    ),
    ("an image of a message", 400, openai("image is too large")),
    ("AI/ML API, parameters", 400, aimlapi("Body validation error!", 400)),
    ("billing address", 400, openai("Unknown field billing_address")),
)

REFUSALS = tuple(
    Sample(server, status, body, "BadRequestError") for server, status, body in _REFUSALS
)
"""Near misses: the request is wrong, and no shorter prompt makes it right."""

AZURE_WAIT = (
    "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-02-01 have "
    "exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 9 seconds. "
    "Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the "
    "default rate limit. For Free Account customers, upgrade to Pay as you Go here: "
    "https://aka.ms/429TrialUpgrade."
)
CURRENT_QUOTA = "You exceeded your current quota, please check your plan and billing details."
WAIT = (("Retry-After", "7"),)


def _429(server: str, body: object, *, retryable: bool, headers: tuple = ()) -> Sample:
    return Sample(server, 429, body, "RateLimitError", retryable, headers)


RATE_LIMITS = (
    _429("nothing", "", retryable=True),
    _429(
        "OpenAI, tokens a minute",
        openai(
            "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, "
            "Requested 30601. Visit https://platform.openai.com/account/rate-limits to learn more.",
            "rate_limit_exceeded",
            "tokens",
        ),
        retryable=True,
    ),
    _429(
        "Groq",
        openai(
            "Rate limit reached for model `llama-3.1-8b-instant` on tokens per minute (TPM): Limit "
            "6000, Used 5034, Requested 1443. Please try again in 4.77s. Need more tokens? Upgrade to "
            "Dev Tier today at https://console.groq.com/settings/billing",
            "rate_limit_exceeded",
            "tokens",
        ),
        retryable=True,
    ),
    _429("Azure", {"error": {"code": "429", "message": AZURE_WAIT}}, retryable=True),
    _429(
        "Anthropic",
        anthropic(
            "This request would exceed your organization's rate limit of 30,000 input tokens per "
            "minute. Please reduce the prompt length or the maximum tokens requested, or try again "
            "later. You may also contact sales to discuss your options for a rate limit increase.",
            "rate_limit_error",
        ),
        retryable=True,
        headers=WAIT,
    ),
    _429(
        "Gemini, a minute",
        [
            google(
                "Quota exceeded for quota metric 'Generate Content API requests per minute' and limit "
                "'GenerateContent request limit per minute for a region'.",
                "RESOURCE_EXHAUSTED",
                429,
            )
        ],
        retryable=True,
    ),
    _429(
        "Vertex",
        google("Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED", 429),
        retryable=True,
    ),
    _429(
        "Mistral",
        vllm("Service tier capacity exceeded for this model.", 429, "invalid_request_error"),
        retryable=True,
    ),
    _429(
        "OpenRouter, a minute",
        {"error": {"message": "Rate limit exceeded: free-models-per-min. ", "code": 429}},
        retryable=True,
    ),
    _429(
        "OpenRouter, upstream",
        {
            "error": {
                "message": "Provider returned error",
                "code": 429,
                "metadata": {"raw": "temporarily rate-limited upstream. Please retry shortly."},
            }
        },
        retryable=True,
    ),
    _429(
        "LiteLLM, router",
        openai(
            "No deployments available for selected model, Try again in 5 seconds. Passed model=ernie.",
            "429",
            "None",
        ),
        retryable=True,
    ),
    _429(
        "LiteLLM, Azure behind it",
        openai(f"litellm.RateLimitError: AzureException - {AZURE_WAIT}", "429", "throttling_error"),
        retryable=True,
    ),
    _429("vLLM", vllm("The server is overloaded", 429, "TooManyRequests"), retryable=True),
    _429("SGLang", vllm("The request queue is full.", 429, "TooManyRequests"), retryable=True),
    _429(
        "Together",
        openai("You have reached the rate limit specific to this model", None, "model_rate_limit"),
        retryable=True,
    ),
    _429(
        "DeepSeek",
        bare("Rate limit reached. Please retry later", "rate_limit_reached_error"),
        retryable=True,
    ),
    _429(
        "Qianfan, requests",
        openai("Rate limit reached for RPM", "rpm_rate_limit_exceeded", "rate_limit_exceeded"),
        retryable=True,
    ),
    _429(
        "Qianfan's search",
        {"code": "RATE_LIMIT_TOTAL_QPS", "message": "Total API QPS limit exceeded"},
        retryable=True,
    ),
    _429("Chinese, frequency", bare("请求过于频繁 请稍后再试"), retryable=True),
    _429("Chinese, limit", bare("触发限流 请降低调用频率"), retryable=True),
    _429("Chinese, quota a minute", bare("超出每分钟请求配额 触发限流"), retryable=True),
    _429("AI/ML API", aimlapi("Too Many Requests", 429), retryable=True),
    _429(
        "Cloudflare",
        "<!DOCTYPE html><html><head><title>Access denied | Error 1015</title></head></html>",
        retryable=True,
        headers=WAIT,
    ),
    _429("nginx", "<html><head><title>429 Too Many Requests</title></head></html>", retryable=True),
    _429("AWS", {"message": "Too Many Requests"}, retryable=True),
    _429("Hugging Face", {"error": "Rate limit exceeded. Load balancer is busy."}, retryable=True),
    _429("rebalancing", {"detail": "Shards are rebalanced, try again in 3 s"}, retryable=True),
    _429("balance", {"detail": "The load balancer has no free slot"}, retryable=True),
    _429("credits a minute", bare("Exceeded 100 credits per minute"), retryable=True),
    _429("quota a minute", bare("Quota of 10 requests per minute exceeded"), retryable=True),
    _429("quota and Retry-After", bare("Quota exceeded"), retryable=True, headers=WAIT),
    _429("payment", bare("The payment service limits calls to 10 per second"), retryable=True),
    # What does not go away in seconds:
    _429("OpenAI, funds", bare(CURRENT_QUOTA, "insufficient_quota"), retryable=False),
    _429("OpenAI, only the code", bare("no", "insufficient_quota"), retryable=False),
    _429("OpenAI, only the type", openai("no", "429", "insufficient_quota"), retryable=False),
    _429(
        "OpenAI, funds and Retry-After",
        bare(CURRENT_QUOTA, "insufficient_quota"),
        retryable=False,
        headers=WAIT,
    ),
    _429("quota, current", aimlapi(CURRENT_QUOTA, 429), retryable=False, headers=WAIT),
    _429(
        "Gemini, free tier",
        [
            google(
                f"{CURRENT_QUOTA}\n* Quota exceeded for metric: generativelanguage.googleapis.com/"
                "generate_content_free_tier_requests, limit: 0\nPlease retry in 20.04466179s.",
                "RESOURCE_EXHAUSTED",
                429,
            )
        ],
        retryable=False,
        headers=WAIT,
    ),
    _429(
        "OpenRouter, a day",
        {
            "error": {
                "message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 "
                "free model requests per day",
                "code": 429,
            }
        },
        retryable=False,
    ),
    _429(
        "AI/ML API, free tier",
        aimlapi("Free-tier limit: you've reached the limit for the hour.", 429),
        retryable=False,
        headers=WAIT,
    ),
    _429(
        "Moonshot",
        bare("Your account is suspended", "exceeded_current_quota_error"),
        retryable=False,
    ),
    _429(
        "LiteLLM, budget",
        openai("LiteLLM User: me, exceeded budget for model=ernie", "429", "budget_exceeded"),
        retryable=False,
    ),
    _429(
        "LiteLLM, deployment's budget",
        bare("No deployments available - crossed budget: Exceeded budget for deployment", "429"),
        retryable=False,
    ),
    _429("LiteLLM, quota", bare("no", "terminal_quota_exhausted"), retryable=False),
    _429(
        "xAI",
        {
            "code": "Some resource has been exhausted",
            "error": "Your team x has either used all available credits or reached its monthly "
            "spending limit.",
        },
        retryable=False,
    ),
    _429(
        "Qianfan's search, funds",
        {
            "code": "BILLING_INSUFFICIENT_BALANCE",
            "message": "Your account has insufficient balance",
        },
        retryable=False,
    ),
    _429(
        "Qianfan's search, quota",
        {"code": "QUOTA_USER_DAILY_REQUEST", "message": "Daily request quota per user exceeded"},
        retryable=False,
    ),
    _429("a month", bare("Monthly usage limit reached"), retryable=False),
    _429("Zhipu", openai("Your account balance is not enough.", "1113"), retryable=False),
    _429("Chinese, funds", bare("账户余额不足 请充值"), retryable=False),
    _429("Chinese, debt", bare("您的账户已欠费"), retryable=False),
    _429("Chinese, quota", bare("配额已用尽"), retryable=False),
    _429("Chinese, free", bare("免费额度已用完"), retryable=False),
)


def _funds(server: str, status: int, body: object) -> Sample:
    return Sample(server, status, body, "InsufficientCreditsError")


def _denied(server: str, body: object, *headers: tuple[str, str]) -> Sample:
    return Sample(server, 403, body, "PermissionDeniedError", headers=headers)


ACCOUNTS = (
    _funds(
        "AI/ML API", 403, aimlapi("You've run out of credits. Please top up your balance.", 403)
    ),
    _funds("AI/ML API, older", 403, aimlapi("Please top up to continue.", 403)),
    _funds("DeepSeek", 402, openai("Insufficient Balance", "invalid_request_error")),
    _funds(
        "OpenRouter",
        402,
        {
            "error": {
                "message": "This request requires more credits, or fewer max_tokens. You requested up "
                "to 32000 tokens, but can only afford 27342.",
                "code": 402,
            }
        },
    ),
    _funds(
        "OpenRouter, key",
        403,
        {"error": {"message": "Key limit exceeded (total limit).", "code": 403}},
    ),
    _funds("SiliconFlow", 403, {"code": 30001, "message": "Sorry, your balance is insufficient"}),
    _funds("New API", 403, openai("用户额度不足 剩余额度: ¥0.01", "insufficient_user_quota")),
    _funds(
        "Anthropic, funds",
        400,
        anthropic("Your credit balance is too low to access the Claude API."),
    ),
    _funds(
        "LiteLLM, budget",
        400,
        openai("Budget has been exceeded! Current cost: 26.0", "400", "none"),
    ),
    _funds("OpenAI", 403, openai("Your account is not active", "billing_not_active")),
    _funds("OpenAI, cap", 403, openai("Billing hard limit has been reached", "billing_hard_limit")),
    _funds(
        "Google",
        403,
        google("This API method requires billing to be enabled.", "PERMISSION_DENIED", 403),
    ),
    _funds(
        "Volcengine",
        403,
        openai(
            "The request failed because your account has an overdue balance.",
            "AccountOverdueError",
        ),
    ),
    _funds(
        "DashScope, debt",
        400,
        openai("Access denied, please make sure your account is in good standing.", "Arrearage"),
    ),
    _funds("credits that are gone", 403, openai("Your credits are depleted.")),
    _funds("Chinese", 403, openai("账户余额不足")),
    _denied("AI/ML API, region", aimlapi("Your region is not supported.", 403)),
    _denied("nginx", "<html><head><title>403 Forbidden</title></head></html>"),
    _denied("AWS", {"message": "Forbidden"}, ("server", "awselb/2.0")),
    _denied("a load balancer", "Forbidden by the load balancer: no rule lets this client in"),
    _denied(
        "a load balancer's page",
        "<html><head><title>Load balancer: request blocked</title></head><body>balance</body></html>",
    ),
    _denied("a rebalance", {"detail": "The pool is in rebalance; writes are forbidden"}),
    _denied(
        "Cloudflare",
        "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head></html>",
        ("server", "cloudflare"),
        ("cf-ray", "8dcd691aab942ead-MEL"),
    ),
    _denied("credits of authors", openai("You may not edit the credits of this model")),
    _denied("billing page", openai("The key lacks the scope billing:read")),
    _denied("payment page", openai("Models for payment data need an approval")),
    _denied("quota page", openai("You may not change quotas")),
    _denied(
        "OpenAI, model", openai("Project `p` does not have access to model `m`", "model_not_found")
    ),
    _denied("Qianfan", openai("No permission to access data", "access_denied", "access_denied")),
)

SAMPLES = (*OVERFLOWS, *REFUSALS, *RATE_LIMITS, *ACCOUNTS)
