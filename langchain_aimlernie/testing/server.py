"""`ErnieServer`: the local API on a socket of loopback, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from langchain_aimlernie.testing import catalogue
from langchain_aimlernie.testing.connection import Connection
from langchain_aimlernie.testing.received import Request
from langchain_aimlernie.testing.replies import Reply
from langchain_aimlernie.testing.service import Service, Totals, error_body

API_KEY = "local-ernie-key"
"""The key that a server takes unless it is given another."""

_BACKLOG = 4096
_PATIENCE = 10.0


class ErnieServer:
    """A local AI/ML API for ERNIE: real HTTP/1.1 on loopback, no network, no key of yours.

    It checks each request as strictly as the published schema of its model does, and answers as
    the API documents, JSON and streamed. What it answers is made up, always the same for the same
    request but for the ids, which no other server gives, and says so: texts begin with "[local
    ErnieServer, not ERNIE]", and every answer has `system_fingerprint` "local-ErnieServer" and the
    header `x-aimlernie-local`. Tests can queue answers and failures, and read back what was asked:

        with ErnieServer() as server:
            server.reply("Hello", finish_reason="length")
            server.fail(429, headers={"retry-after": "1"})
            model = ChatAimlErnie(api_key=server.api_key, base_url=server.base_url)
            ...
            server.last_request.body["messages"]

    It runs in a thread of its own and can be used from any thread, with or without an event loop.

    Args:
        port: The port; 0 takes a free one.
        host: The address to listen on.
        api_key: The key that clients must send; None takes every client, as servers of one's own
            do.
        delay: Seconds before each answer.
        interval: Seconds between the pieces of a streamed answer.
        models: More model ids to serve, each with the id of the ERNIE model that it is like.
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
            name: replace(catalogue.BY_NAME[like], id=name, aliases=())
            for name, like in (models or {}).items()
        }
        self._service = Service(api_key, {**catalogue.BY_NAME, **more}, delay, interval)
        self._host = host
        self._port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._open: set[Connection] = set()
        self._accepted = 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = self.base_url if self._thread is not None else "stopped"
        return f"<ErnieServer {state}>"

    def start(self) -> Self:
        """Listen and answer; ready when this returns.

        Raises:
            OSError: The port is taken, or the address is not one of this machine.
            RuntimeError: It runs already.
        """
        if self._thread is not None:
            raise RuntimeError("this ErnieServer runs already")
        listener = _listener(self._host, self._port)
        self._port = listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(listener, ready), name="ErnieServer", daemon=True
        )
        self._thread.start()
        ready.wait(_PATIENCE)
        return self

    def stop(self) -> None:
        """Close every connection and the port; a stopped server may be started again."""
        thread, loop = self._thread, self._loop
        if thread is None or loop is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_PATIENCE)
        self._thread = self._loop = None

    @property
    def host(self) -> str:
        """The address that it listens on."""
        return self._host

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    @property
    def base_url(self) -> str:
        """What to give a client as `base_url`; ends in `/v1`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/v1"

    @property
    def api_key(self) -> str | None:
        """The key that clients must send; None takes all. May be set."""
        return self._service.api_key

    @api_key.setter
    def api_key(self, key: str | None) -> None:
        self._service.api_key = key

    @property
    def on_request(self) -> Callable[[Request], Reply | None] | None:
        """Asked for each valid chat request before the queue is; None from it means: go on.

        It runs in the server's thread and should not wait for anything. May be set.
        """
        return self._service.on_request

    @on_request.setter
    def on_request(self, function: Callable[[Request], Reply | None] | None) -> None:
        self._service.on_request = function

    def reply(self, reply: Reply | str | None = None, /, *, times: int = 1, **fields: Any) -> Reply:
        """Queue the answer to the next valid chat request.

        Args:
            reply: A `Reply`, or the text of one.
            times: To so many requests.
            **fields: The fields of `Reply`, in place of those that it has.

        Returns:
            The reply that was queued.
        """
        if isinstance(reply, str):
            reply = Reply(reply)
        reply = replace(reply or Reply(), **fields)
        with self._service.lock:
            self._service.queue.extend([reply] * times)
        return reply

    def fail(  # noqa: PLR0913  # parts of an error, by name
        self,
        status: int,
        message: str = "Failed by a test",
        *,
        code: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        body: object = None,
        times: int = 1,
    ) -> Reply:
        """Queue a failure in the API's shape as the answer to the next valid chat request.

        Args:
            status: The HTTP status.
            message: The error's message.
            code: A `code` beside it.
            headers: More headers, such as `{"retry-after": "1"}`.
            body: Another body instead: bytes and text as they are, else sent as JSON.
            times: To so many requests.
        """
        more = {} if code is None else {"code": code}

        def error(request: Request) -> object:
            return error_body(request, status, message, **more)

        made = error if body is None else body
        return self.reply(Reply(status=status, body=made, headers=headers or {}), times=times)

    @property
    def pending(self) -> int:
        """How many queued replies have not been asked for yet."""
        return len(self._service.queue)

    @property
    def requests(self) -> list[Request]:
        """The requests so far, of any path, the last 20,000 at most."""
        with self._service.lock:
            return list(self._service.requests)

    @property
    def last_request(self) -> Request:
        """The last request.

        Raises:
            LookupError: There was none.
        """
        with self._service.lock:
            if not self._service.requests:
                raise LookupError("no request has come yet")
            return self._service.requests[-1]

    @property
    def violations(self) -> list[str]:
        """What the requests so far did against the published contract.

        A field of the body that the schema does not know is listed, too, though the API, and this
        server, answer such a request without reading it.
        """
        return [each for request in self.requests for each in request.violations]

    @property
    def totals(self) -> Totals:
        """Tokens, credits and dollars of the answers that were written to their end."""
        return self._service.totals

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    @property
    def connections_total(self) -> int:
        """How many connections there have been since the start or the last `reset`."""
        return self._accepted

    def close_connections(self, *, reset: bool = False) -> None:
        """Close all connections that are open now, by TCP reset if asked to."""
        loop = self._loop
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._close_all(reset=reset), loop).result(_PATIENCE)

    def reset(self) -> None:
        """Forget requests, queued replies, `on_request` and sums; connections stay open."""
        self._service.reset()
        self._accepted = 0

    def _run(self, listener: socket.socket, ready: threading.Event) -> None:
        loop = asyncio.SelectorEventLoop()
        try:
            server = loop.run_until_complete(
                loop.create_server(self._connection, sock=listener, backlog=_BACKLOG)
            )
            self._loop = loop
            loop.call_soon(ready.set)
            loop.run_forever()
            # Server.close would lose, and leak, what is just being accepted.
            loop.remove_reader(listener)
            loop.run_until_complete(self._finish())
            server.close()
        finally:
            loop.close()

    def _connection(self) -> Connection:
        self._accepted += 1
        return Connection(self._service, self._accepted, self._open)

    async def _finish(self) -> None:
        """Close what is open, and what is still being accepted."""
        await self._close_all()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest, return_exceptions=True)
        await self._close_all()

    async def _close_all(self, *, reset: bool = False) -> None:
        """Close the connections, and let their tasks end."""
        closing = list(self._open)
        for connection in closing:
            connection.close(reset=reset)
        await asyncio.gather(*(connection.wait_closed() for connection in closing))


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
