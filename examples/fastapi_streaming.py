"""A web service that streams completions, with a budget for each user (FastAPI).

`uvicorn fastapi_streaming:app` in this directory serves it; here it also calls itself.
"""

import asyncio
import json
import socket
from collections import defaultdict
from collections.abc import AsyncIterator
from functools import cache
from http import HTTPStatus
from typing import Annotated

import httpx2
import uvicorn
from _local import run
from fastapi import FastAPI, Header, HTTPException
from fastapi.responses import StreamingResponse
from langchain_core.messages import AIMessageChunk

from langchain_aimlernie import (
    AimlErnieError,
    BudgetExceededError,
    ChatAimlErnie,
    SpendTracker,
)

app = FastAPI()
budgets = defaultdict(lambda: SpendTracker(limit_usd="0.00001"))  # too low for a second call


@cache
def model() -> ChatAimlErnie:
    """Return the model that all requests share."""
    return ChatAimlErnie()


async def events(
    first: AIMessageChunk, others: AsyncIterator[AIMessageChunk]
) -> AsyncIterator[str]:
    """Yield server-sent events. If the client leaves, the completion is stopped, and estimated."""
    try:
        yield f"data: {json.dumps(first.text)}\n\n"
        async for chunk in others:
            if chunk.text:
                yield f"data: {json.dumps(chunk.text)}\n\n"
    except AimlErnieError as error:  # too late for a status
        yield f"event: error\ndata: {json.dumps(type(error).__name__)}\n\n"


@app.get("/ask")
async def ask(question: str, user: Annotated[str, Header()]) -> StreamingResponse:
    """Stream a completion. The header `user` stands for your authentication."""
    chunks = model().astream(question, config={"callbacks": [budgets[user]]})
    try:
        first = await anext(chunks)  # until here an error can still be a status
    except BudgetExceededError as error:
        raise HTTPException(HTTPStatus.PAYMENT_REQUIRED, "Your budget is spent.") from error
    except AimlErnieError as error:
        raise HTTPException(HTTPStatus.BAD_GATEWAY, type(error).__name__) from error
    return StreamingResponse(events(first, chunks), media_type="text/event-stream")


async def call_itself() -> None:
    """Serve on a free port, and ask as two users."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/ask"
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    async with asyncio.TaskGroup() as tasks, httpx2.AsyncClient(trust_env=False) as client:
        tasks.create_task(server.serve(sockets=[listener]))
        for user, question in (
            ("ada", "What is a tide?"),
            ("ada", "What is a wave?"),
            ("bob", "What is a wave?"),
        ):
            async with client.stream(
                "GET", url, params={"question": question}, headers={"user": user}
            ) as response:
                print(f"> {user}: {question}  [{response.status_code}]")
                async for line in response.aiter_lines():
                    print(line, end=" ", flush=True)
                print()
        server.should_exit = True
    for user, spend in budgets.items():
        print(f"{user}: {spend}")


def main() -> None:
    """Show what two users get; the first has spent the budget after one call."""
    asyncio.run(call_itself())


if __name__ == "__main__":
    run(main)
