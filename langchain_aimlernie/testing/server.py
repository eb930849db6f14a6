"""`ErnieServer`: the local API on a loopback socket, in a thread with its own event loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Self, TypeVar

from langchain_aimlernie.testing.api import Api, failure
from langchain_aimlernie.testing.connection import Connection
from langchain_aimlernie.testing.models import BY_NAME
from langchain_aimlernie.testing.replies import Reply, Request, as_reply

API_KEY = "local-ernie-key"
"""The default key of a server."""

_BACKLOG = 4096
_TIMEOUT = 10.0

T = TypeVar("T")


class ErnieServer(Api):
    """A local AI/ML API for ERNIE: real HTTP/1.1 on loopback; no network and no key is needed.

    It validates each request against the published schema of its model and responds as the API
    documents, with JSON or a stream. A fake model computes the replies that are not scripted: the
    same for the same request, except for the ids, which are unique across servers. Its texts begin
    with "[local ErnieServer, not ERNIE]"; every completion has the `system_fingerprint`
    "local-ErnieServer", and every response the header `x-aimlernie-local`. Tests can queue replies
    and failures, and read the requests:

        with ErnieServer() as server:
            server.reply("Hello", finish_reason="length")
            server.fail(429, headers={"retry-after": "1"})
            model = ChatAimlErnie(api_key=server.api_key, base_url=server.base_url)
            ...
            server.last_request.body["messages"]

    It has an account, too (`langchain_aimlernie.account`): the log has a row for each valid call,
    even if its response was not received completely, and the cost of calls reduces the balance.

    It runs in its own thread and can be used from any thread, with or without an event loop.

    Args:
        port: The port; 0 takes a free one.
        host: The address to listen on.
        api_key: The key that clients must send; None or "" accepts every client, as self-hosted
            servers do.
        delay: Seconds before each response.
        interval: Seconds between the events of a stream.
        models: Ids of further models to serve, each with the id of an ERNIE model to imitate.

    Attributes:
        host: The address to listen on.
        port: The port; 0 before the first start if none was given.
    """

    def __init__(  # noqa: PLR0913  # settings, by name
        self,
        port: int = 0,
        host: str = "127.0.0.1",
        *,
        api_key: str | None = API_KEY,
        delay: float = 0.0,
        interval: float = 0.0,
        models: Mapping[str, str] | None = None,
    ) -> None:
        more = {
            name: replace(BY_NAME[like], id=name, aliases=())
            for name, like in (models or {}).items()
        }
        super().__init__(api_key, {**BY_NAME, **more}, delay, interval)
        self.host = host
        self.port = port
        self._life_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._listening: asyncio.Server
        self._open: set[Connection] = set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = self.base_url if self._thread is not None else "stopped"
        return f"<ErnieServer {state}>"

    def start(self) -> Self:
        """Start the server, which then accepts connections, and return it.

        Raises:
            OSError: The port is in use, or the address is not one of this machine.
            RuntimeError: The server is already running.
        """
        with self._life_lock:
            if self._thread is not None:
                raise RuntimeError("this ErnieServer is already running")
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            listener = socket.create_server((self.host, self.port), family=family, backlog=_BACKLOG)
            self.port = listener.getsockname()[1]
            self._loop = asyncio.SelectorEventLoop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="ErnieServer", daemon=True
            )
            self._thread.start()
            self._listening = self._run(
                asyncio.start_server(self._on_connect, sock=listener, backlog=_BACKLOG)
            )
        return self

    def stop(self) -> None:
        """Close every connection and the port; a stopped server may be started again.

        Raises:
            RuntimeError: The caller is `on_request`, for which the server waits.
        """
        with self._life_lock:
            if self._thread is None:
                return
            self._run(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_TIMEOUT)
            self._loop.close()
            self._thread = None

    @property
    def base_url(self) -> str:
        """The `base_url` for clients; ends in `/v1`.

        Raises:
            RuntimeError: The server has no port yet.
        """
        if not self.port:
            raise RuntimeError("this ErnieServer has no port yet: use `with`, or call start()")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"

    @property
    def balance_usd(self) -> Decimal:
        """The account's balance in US dollars, less the cost of calls. May be assigned."""
        return self._account.balance

    @balance_usd.setter
    def balance_usd(self, usd: Decimal | float) -> None:
        self._account.balance = Decimal(str(usd))

    def reply(self, reply: Reply | str | None = None, /, *, times: int = 1, **fields: Any) -> Reply:
        """Queue the reply to the next valid chat request.

        Args:
            reply: A `Reply`, or the text of one.
            times: The number of requests to reply to.
            **fields: Fields of `Reply`, which override those of `reply`.

        Returns:
            The reply that was queued.

        Raises:
            TypeError: `reply` is neither a `Reply` nor a text, or a field is unknown.
        """
        reply = replace(as_reply("" if reply is None else reply), **fields)
        with self._lock:
            self._queue.extend([reply] * times)
        return reply

    def fail(  # noqa: PLR0913  # parts of an error, by name
        self,
        status: int,
        message: str = "Failed by a test",
        *,
        code: str | None = None,
        headers: Mapping[str, str | float | None] | None = None,
        body: object = None,
        times: int = 1,
    ) -> Reply:
        """Queue an error in the API's format as the reply to the next valid chat request.

        Args:
            status: The HTTP status.
            message: The error's message.
            code: The error's `code`, next to the message.
            headers: Further headers, such as `{"retry-after": "1"}`.
            body: A body instead of this error: bytes and text are sent unchanged, other values as
                JSON.
            times: The number of requests to fail.

        Returns:
            The reply that was queued.
        """
        error = failure(status, message, **({} if code is None else {"code": code}))
        if body is not None:
            error = Reply(status=status, body=body)
        return self.reply(error, headers={**error.headers, **(headers or {})}, times=times)

    @property
    def pending(self) -> int:
        """The number of queued replies that have not been used."""
        return len(self._queue)

    @property
    def requests(self) -> list[Request]:
        """The requests so far, of any path; at most the last 20,000."""
        with self._lock:
            return list(self._requests)

    @property
    def last_request(self) -> Request:
        """The last request.

        Raises:
            LookupError: There was none.
        """
        with self._lock:
            if not self._requests:
                raise LookupError("there was no request yet")
            return self._requests[-1]

    @property
    def violations(self) -> list[str]:
        """The violations of the published schema by the requests so far.

        An unknown top-level field of the body is included, although the API and this server ignore
        it.
        """
        return [each for request in self.requests for each in request.violations]

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._open)

    def close_connections(self, *, reset: bool = False) -> None:
        """Close all open connections, by TCP reset if `reset`.

        Raises:
            RuntimeError: The caller is `on_request`, for which the server waits.
        """
        with self._life_lock:
            if self._thread is not None:
                self._run(self._abort(reset=reset))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("not allowed in on_request; return a Reply with a Fault instead")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_TIMEOUT)

    async def _close(self) -> None:
        # Server.close would leak a connection that is just being accepted.
        self._loop.remove_reader(self._listening.sockets[0].fileno())
        while asyncio.all_tasks() - {asyncio.current_task()}:
            await self._abort()
            await asyncio.sleep(0)
        self._listening.close()

    async def _abort(self, *, reset: bool = False) -> None:
        tasks = [connection.abort(reset=reset) for connection in self._open]
        await asyncio.gather(*tasks)

    def _on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections_total += 1
        connection = Connection(
            self._respond, self._complete, self.connections_total, reader, writer
        )
        self._open.add(connection)
        connection.task.add_done_callback(lambda _: self._open.discard(connection))
