"""The commands, except for the chat, `doctor` and `batch`."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import warnings
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage, SystemMessage
from pydantic import ValidationError

from langchain_aimlernie import account
from langchain_aimlernie._cli import chat, doctor
from langchain_aimlernie._cli.chat import Completion, summarize, to_object
from langchain_aimlernie._cli.output import (
    USAGE,
    CommandError,
    format_table,
    format_usd,
    is_terminal,
    write,
    write_error,
    write_json,
)
from langchain_aimlernie._settings.errors import first_message
from langchain_aimlernie._settings.values import (
    BASE_URL_VARIABLE,
    KEY_VARIABLE,
    base_url_of_environment,
    is_default_host,
    parse_base_url,
    parse_key,
)
from langchain_aimlernie.chat_models import ChatAimlErnie
from langchain_aimlernie.models import ModelCard, list_models
from langchain_aimlernie.profiles import DEFAULT_MODEL, find_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.messages import BaseMessage

    from langchain_aimlernie._cli.main import Options

_PROBE_TOKENS = 2000
"""Maximum tokens of a completion of `doctor`: enough for reasoning, below each model's limit."""

Server = dict[str, Any]
"""`base_url` and `api_key`; empty if they come from the environment."""

Report = tuple[object, list[tuple[str, ...]]]
"""A value for `--json`, and the rows of a table."""


def run(options: Options) -> int:
    """Run a command; return the exit code."""
    with choose_server(options, needs_key=options.command != "models") as server:
        if options.command in _REPORTS:
            report, right = _REPORTS[options.command]
            value, rows = report(options, server)
            if options.json:
                write_json(value)
            else:
                write(format_table(rows, right))
            return 0
        if options.command is None:
            return _ask_or_chat(options, server)
        with create_model(options, server, max_tokens=_PROBE_TOKENS) as llm:
            return doctor.run(llm, as_json=options.json)


@contextlib.contextmanager
def choose_server(options: Options, *, needs_key: bool) -> Iterator[Server]:
    """Yield the server to call: the environment's, or for `--local` a running local one."""
    if not options.local:
        _check_environment(needs_key=needs_key)
        yield {}
        return
    from langchain_aimlernie.testing import ErnieServer  # noqa: PLC0415  only if used

    with ErnieServer() as local_server:
        yield {"base_url": local_server.base_url, "api_key": local_server.api_key}


def _check_environment(*, needs_key: bool) -> None:
    """Check the environment variables; unlike the package's errors, these name the variables."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    try:
        with warnings.catch_warnings(action="ignore"):  # the model warns, too
            base_url = parse_base_url(base_url_of_environment())
        if key:
            parse_key(key)
    except ValueError as error:
        message = str(error).replace("base_url", BASE_URL_VARIABLE)
        raise CommandError(message.replace("api_key", KEY_VARIABLE)) from None
    if needs_key and not key and is_default_host(base_url):
        raise CommandError(
            "there is no API key: create one at https://aimlapi.com/app/keys "
            f"and set {KEY_VARIABLE}, or try --local."
        )


def create_model(options: Options, server: Server, **settings: Any) -> ChatAimlErnie:
    """Return the model that the options describe."""
    settings = {
        "model": DEFAULT_MODEL if options.model is None else options.model,
        "temperature": options.temperature,
        "max_tokens": options.max_tokens,
        **settings,
    }
    spec = find_model(settings["model"])
    if options.no_reasoning and spec.known and spec.thinking_switch:
        settings["enable_thinking"] = False
    try:
        return ChatAimlErnie(**settings, **server)
    except ValidationError as error:
        message = first_message(error).replace("model_name", "model").replace("_", "-")
        raise CommandError(f"--{message}", USAGE) from None


def _ask_or_chat(options: Options, server: Server) -> int:
    prompt = _read_prompt(options.prompt)
    history: list[BaseMessage] = [SystemMessage(options.system)] if options.system else []
    is_reasoning_shown = not options.no_reasoning
    with create_model(options, server) as llm:
        if prompt is None:
            if options.json:
                raise CommandError("--json needs a prompt.", USAGE)
            return chat.run(llm, history, is_reasoning_shown=is_reasoning_shown)
        completion = Completion(is_shown=not options.json, is_reasoning_shown=is_reasoning_shown)
        completion.stream(llm, [*history, HumanMessage(prompt)])
        if options.json:
            write_json(to_object(completion.message(), is_reasoning_shown=is_reasoning_shown))
        else:
            write_error(f"{summarize(completion.message())}\n")
        return 0


def _read_prompt(prompt: str | None) -> str | None:
    """Return the prompt from the arguments and standard input; `None` for a chat."""
    if prompt is None and is_terminal(sys.stdin):
        return None
    if prompt is None or prompt == "-":
        prompt = _read_input()
    elif prompt.strip() and _has_input() and (text := _read_input()).strip():
        prompt = f"{prompt}\n\n{text}"
    if not prompt.strip():
        raise CommandError("the prompt is empty; nothing was sent.", USAGE)
    return prompt


def _has_input() -> bool:
    """Return whether standard input is a pipe, a file or a socket."""
    try:
        return sys.stdin is not None and not stat.S_ISCHR(os.fstat(sys.stdin.fileno()).st_mode)
    except OSError:
        return False


def _read_input() -> str:
    try:
        return "" if sys.stdin is None else sys.stdin.read()
    except OSError as error:
        raise CommandError(f"cannot read standard input: {error.strerror}.") from None


def _models(_: Options, server: Server) -> Report:
    cards = list_models(**server)
    rows = [
        (
            card.id,
            _number(card.context_tokens),
            _number(card.max_output_tokens),
            ", ".join(card.input_modalities),
            _number(card.input_price),
            _number(card.output_price),
            _status(card),
        )
        for card in cards
    ]
    return cards, [("model", "context", "output", "input", "$/M in", "$/M out", "status"), *rows]


def _status(card: ModelCard) -> str:
    """Return a model's status in the deprecations feed."""
    parts = [card.status or ""]
    if card.shutdown_at is not None:
        parts.append(f"until {card.shutdown_at:%Y-%m-%d}")
    if card.replaced_by is not None:
        parts.append(f"use {card.replaced_by}")
    return ", ".join(parts)


def _balance(_: Options, server: Server) -> Report:
    balance, key = account.balance(**server), account.key_info(**server)
    limit = key.limit
    return {"balance": balance, "key": key}, [
        ("balance", format_usd(balance.current_balance)),
        ("key", f"{key.name or 'without a name'}{', disabled' if key.disabled else ''}"),
        ("this month", format_usd(key.monthly_usage)),
        ("limit", "none" if limit is None else f"{format_usd(limit.threshold)}, {limit.retention}"),
    ]


def _usage(options: Options, server: Server) -> Report:
    try:
        usage = account.usage(options.period, **server)
    except ValueError as error:
        raise CommandError(f"--{error}", USAGE) from None
    return usage, [
        ("period", f"{usage.start:%Y-%m-%d %H:%M} to {usage.end:%Y-%m-%d %H:%M} UTC"),
        ("requests", _number(usage.requests)),
        ("spent", format_usd(usage.spend)),
    ]


def _number(value: Decimal | int | None) -> str:
    return "" if value is None else f"{Decimal(value).normalize():,f}"


_REPORTS: dict[str, tuple[Callable[[Options, Server], Report], tuple[int, ...]]] = {
    "models": (_models, (1, 2, 4, 5)),
    "balance": (_balance, ()),
    "usage": (_usage, ()),
}
"""Commands that print the response of an endpoint, and the numeric columns of their tables."""
