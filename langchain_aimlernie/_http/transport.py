"""The transport: makes attempts of a call until one succeeds or no retry is left."""

from __future__ import annotations

import random
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_aimlernie._coroutines import awaited
from langchain_aimlernie._http.attempt import Attempt
from langchain_aimlernie._http.clients import UserClient, open_client, open_clients
from langchain_aimlernie._http.config import resolve
from langchain_aimlernie._http.failures import to_error
from langchain_aimlernie._http.network import AsyncNetwork, Network
from langchain_aimlernie._http.retry import RetryState
from langchain_aimlernie.errors import APIConnectionError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain_aimlernie._http.clients import PooledClient
    from langchain_aimlernie._http.config import ConnectionConfig
    from langchain_aimlernie._http.request import APIRequest
    from langchain_aimlernie._response.stream import StreamDecoder
    from langchain_aimlernie.errors import AimlErnieError

    OnRetry = Callable[[int, AimlErnieError, float], Any]

R = TypeVar("R")


class Transport:
    """Sends requests and reads what comes back.

    Args:
        config: The settings of the connections, which all transports with the same settings share.
        user_client: The user's client, to be used instead of them; it is never closed.
        is_async: Whether its coroutines need an event loop. Else none of them suspends.
    """

    def __init__(
        self, config: ConnectionConfig, user_client: Any = None, *, is_async: bool = False
    ) -> None:
        self._config = config
        self._user_client = user_client
        self._network = AsyncNetwork() if is_async else Network()

    @cached_property
    def _resolved(self) -> ConnectionConfig:
        """The settings with the environment's proxies, which are read the first time."""
        return resolve(self._config)

    async def _client(self) -> PooledClient | UserClient:
        if self._user_client is not None:
            return UserClient(self._network, self._user_client)
        return await open_client(self._network, self._resolved)

    async def send(
        self,
        request: APIRequest,
        decode: Callable[[dict[str, str], bytes], R],
        *,
        on_retry: OnRetry | None = None,
    ) -> R:
        """Send a request; return what `decode` makes of the headers and body of the response.

        Args:
            request: The request.
            decode: An error of ours that it raises counts as a failed attempt.
            on_retry: Called before each wait with the number of retries so far, the error and the
                seconds to wait; what it returns is awaited if it can be.

        Raises:
            AimlErnieError: The call failed, and no retry was left or could help.
        """
        return await self._retry(
            request, lambda attempt, left: attempt.read_response(decode, left), on_retry
        )

    async def stream(
        self,
        request: APIRequest,
        new_decoder: Callable[[dict[str, str]], StreamDecoder],
        *,
        on_retry: OnRetry | None = None,
    ) -> Attempt:
        """Send a request; return the chunks that a decoder makes of the stream.

        `new_decoder` gets the headers; nothing is sent again once the first chunk has come.
        """
        return await self._retry(
            request, lambda attempt, _: attempt.open_stream(new_decoder), on_retry
        )

    async def close(self) -> None:
        """Close the idle connections of these settings; calls under way are not disturbed."""
        if self._user_client is None:
            client = (await open_clients(self._network)).get(self._resolved)
            if client is not None:
                await client.close_idle()

    async def _retry(
        self,
        request: APIRequest,
        start: Callable[[Attempt, float], Awaitable[R]],
        on_retry: OnRetry | None,
    ) -> R:
        """Make attempts until one succeeds or no retry is left."""
        retries = RetryState(request.max_retries)
        left = request.timeouts.total
        is_replay = False
        while True:
            attempt = Attempt(request, await self._client(), is_replay=is_replay)
            try:
                return await start(attempt, left)
            except Exception as error:  # noqa: BLE001  whatever it is becomes an error of ours
                failed = to_error(error, attempt)
            except BaseException:
                await attempt.aclose()
                raise
            left -= attempt.seconds
            await attempt.aclose()
            used = retries.used
            delay = retries.next_delay(failed, left=left, random=random.random)
            if delay is None:
                try:
                    raise failed
                finally:
                    del failed  # it holds this frame: only the garbage collector would free both
            is_replay = attempt.is_reused and isinstance(failed, APIConnectionError)
            if on_retry is not None and retries.used > used:
                await awaited(on_retry(retries.used, failed, delay))
            await self._network.sleep(delay)
            left -= delay
