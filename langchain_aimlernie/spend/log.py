"""The provider's log of the calls of a chat model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from langchain_aimlernie._client import acurrent_key, current_key
from langchain_aimlernie.errors import AimlErnieError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from langchain_aimlernie.account import LogEntry
    from langchain_aimlernie.chat_models import ChatAimlErnie

_CLOCK_SKEW = timedelta(minutes=5)
_LONGEST_LOG = timedelta(days=92)


def log_since(llm: ChatAimlErnie, start: datetime) -> Generator[LogEntry, None, None]:
    """Yield the log of the requests since `start`, of at most 92 days, with the key of `llm`.

    Raises:
        AimlErnieError: A request failed.
    """
    from langchain_aimlernie.account import logs

    settings = _settings(llm, current_key(llm), start)
    with closing(logs(**settings, http_client=llm.http_client)) as entries:
        yield from entries


async def alog_since(llm: ChatAimlErnie, start: datetime) -> AsyncGenerator[LogEntry, None]:
    """Yield the log of the requests since `start`; see `log_since`."""
    from langchain_aimlernie.account import alogs

    settings = _settings(llm, await acurrent_key(llm), start)
    async with aclosing(alogs(**settings, http_client=llm.http_async_client)) as entries:
        async for entry in entries:
            yield entry


def _settings(
    llm: ChatAimlErnie, key: SecretStr | AimlErnieError | None, start: datetime
) -> dict[str, Any]:
    if isinstance(key, AimlErnieError):
        raise key
    end = datetime.now(UTC) + _CLOCK_SKEW
    start = max(start - _CLOCK_SKEW, end - _LONGEST_LOG)
    return {"start": start, "end": end, "base_url": llm.base_url, "api_key": key}
