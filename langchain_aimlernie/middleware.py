"""Limit what an agent's threads and runs spend.

agent = create_agent(llm, tools, middleware=[SpendLimitMiddleware(run_limit_usd="0.05")])

Needs the extra `agents`: `pip install "langchain-aimlernie[agents]"`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from functools import partial, wraps
from typing import Annotated, Any, Literal, NotRequired, cast
from uuid import UUID
from weakref import WeakKeyDictionary

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, RemoveMessage, ToolMessage
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.context import register_configure_hook
from typing_extensions import override

from langchain_aimlernie.errors import BudgetExceededError
from langchain_aimlernie.spend import Spend, SpendTracker
from langchain_aimlernie.spend.amounts import ZERO, check_choice, check_limit
from langchain_aimlernie.spend.prices import Call

try:
    from langchain.agents.middleware.types import (
        AgentMiddleware,
        AgentState,
        ContextT,
        PrivateStateAttr,
        ResponseT,
        hook_config,
    )
    from langgraph.config import get_config
    from langgraph.graph.message import REMOVE_ALL_MESSAGES
    from langgraph.runtime import Runtime
    from langgraph.types import interrupt
except ImportError as error:
    raise ImportError(
        f"langchain_aimlernie.middleware needs langchain and langgraph ({error}): "
        'pip install "langchain-aimlernie[agents]"'
    ) from error

__all__ = ["SpendLimitMiddleware", "SpendLimitState"]

_Price = Callable[[str, Mapping[str, Any]], Decimal | float | None]
_Thread = tuple[Any, str]
"""A thread's id, and the checkpoint namespace of the agent in it."""

_MAX_UNSAVED = 10_000
"""Threads for which a middleware keeps the amounts that runs could not save."""

_lock = threading.RLock()  # the garbage collector may end a run while this thread holds it


class SpendLimitState(AgentState[ResponseT]):
    """State of an agent with `SpendLimitMiddleware`; amounts are decimal numbers as strings.

    Attributes:
        thread_spent_usd: US dollars that the thread has spent.
        run_spent_usd: US dollars that its latest run has spent.
        thread_limit_usd: The thread's limit, if it was raised at an interrupt.
        run_limit_usd: The latest run's limit, if it was raised at an interrupt.
        spend_limit_reached: Whether `after_agent` must raise or interrupt.
    """

    thread_spent_usd: NotRequired[Annotated[str, PrivateStateAttr]]
    run_spent_usd: NotRequired[Annotated[str, PrivateStateAttr]]
    thread_limit_usd: NotRequired[Annotated[str | None, PrivateStateAttr]]
    run_limit_usd: NotRequired[Annotated[str | None, PrivateStateAttr]]
    spend_limit_reached: NotRequired[Annotated[bool, PrivateStateAttr]]


_Update = dict[str, Any] | None


def _async(hook: Callable[[Any, Any, Any], _Update]) -> Any:
    """Return the async variant of a hook, so that a subclass can call it through `super()`."""

    @wraps(hook)
    async def async_hook(self: Any, state: Any, runtime: Any) -> _Update:
        return cast("_Update", getattr(self, hook.__name__)(state, runtime))

    return async_hook


class SpendLimitMiddleware(AgentMiddleware[SpendLimitState[ResponseT], ContextT, ResponseT]):
    """Stops an agent when its thread or its run has spent a limit.

    Every call of a chat model within the agent's run counts, also those of sub-agents, tools and
    other middleware (in a plain thread, if it is given the config of the tool or node). A call that
    is cancelled or abandoned counts with an estimate, as in `SpendTracker`. The limit is checked
    before each model call of the agent itself, not before calls of its sub-agents and tools; so a
    run may exceed the limit by what is spent between two checks. A `SpendTracker` is a hard limit.

    A run lasts from its input to its end, through interrupts. The thread's total is in the agent's
    private state: with a checkpointer, later runs with the same `thread_id` continue it, also in
    another process. What a run spent in a step that failed, or was cancelled or interrupted, cannot
    be saved there; the thread's next run in this process adds it.

    Put it last in the list of middleware, so that the check is the last step before the model call,
    and the price of the call is saved before anything can interrupt the run.

    Args:
        thread_limit_usd: US dollars for all runs of a thread, at least 0; `None` for no limit.
        run_limit_usd: US dollars for each run, at least 0; `None` for no limit.
        exit_behavior: What happens at the limit. `"end"` ends the run with an `AIMessage` that says
            so. `"error"` raises a `BudgetExceededError`. `"interrupt"` interrupts the run with a
            dict that states the amounts (this needs a checkpointer); resume it with a higher limit,
            `Command(resume={"thread_limit_usd": "0.50"})`, or end it with `Command(resume=False)`.
        price: A function that prices responses without a price, as in `SpendTracker`; without it
            they cost nothing.

    Raises:
        ValueError: There is no limit, one is not a number of at least 0, or `exit_behavior` is
            not one of its values.
    """

    state_schema = SpendLimitState  # type: ignore[assignment]

    def __init__(
        self,
        *,
        thread_limit_usd: Decimal | float | str | None = None,
        run_limit_usd: Decimal | float | str | None = None,
        exit_behavior: Literal["end", "error", "interrupt"] = "end",
        price: _Price | None = None,
    ) -> None:
        super().__init__()
        self.thread_limit_usd = check_limit(thread_limit_usd, "thread_limit_usd")
        self.run_limit_usd = check_limit(run_limit_usd, "run_limit_usd")
        if self.thread_limit_usd is None and self.run_limit_usd is None:
            raise ValueError("There is no limit: set thread_limit_usd, run_limit_usd or both.")
        choices = ("end", "error", "interrupt")
        self.exit_behavior = check_choice(exit_behavior, choices, "exit_behavior")
        self._price = price
        self._unsaved: dict[_Thread, Decimal] = {}

    @override
    def before_agent(
        self, state: SpendLimitState[ResponseT], runtime: Runtime[ContextT]
    ) -> _Update:
        """Reset the run's sum; add to the thread's what earlier runs could not save."""
        unsaved, new = self._take()
        return {
            "thread_spent_usd": _add(state.get("thread_spent_usd"), unsaved + new),
            "run_spent_usd": _add(None, new),
            "run_limit_usd": None,
            "spend_limit_reached": False,
        }

    abefore_agent = _async(before_agent)

    @hook_config(can_jump_to=["end"])
    @override
    def before_model(
        self, state: SpendLimitState[ResponseT], runtime: Runtime[ContextT]
    ) -> _Update:
        """Save what has been spent; stop the run if a limit is reached."""
        update = self._save(state)
        problem = self._problem({**state, **update})
        if problem is None:
            return update
        update["jump_to"] = "end"
        if self.exit_behavior == "end":
            update["messages"] = _closing(state["messages"], problem)
        else:  # `after_agent` raises or interrupts, after the checkpointer has saved the amounts
            update["spend_limit_reached"] = True
        return update

    abefore_model = _async(before_model)

    @override
    def after_model(self, state: SpendLimitState[ResponseT], runtime: Runtime[ContextT]) -> _Update:
        """Save what has been spent."""
        return self._save(state)

    aafter_model = _async(after_model)

    @hook_config(can_jump_to=["model"])
    @override
    def after_agent(self, state: SpendLimitState[ResponseT], runtime: Runtime[ContextT]) -> _Update:
        """Save what has been spent; raise or interrupt if a limit has stopped the run."""
        if not state.get("spend_limit_reached"):
            return self._save(state)
        raised = self._ask(state) if self.exit_behavior == "interrupt" else {}
        problem = self._problem({**state, **raised})
        if problem and self.exit_behavior == "error":
            raise BudgetExceededError(
                f"{problem} The model was not called. Raise the limit of SpendLimitMiddleware, or "
                "start a new thread."
            )
        update = {**self._save(state), **raised, "spend_limit_reached": False}
        if problem:
            return {**update, "messages": _closing(state["messages"], problem)}
        return {**update, "jump_to": "model"}

    aafter_agent = _async(after_agent)

    def _take(self) -> tuple[Decimal, Decimal]:
        """Return what earlier runs could not save, and what this one spent since the last time."""
        config = get_config()
        graph = _counter.graph_of(getattr(config.get("callbacks"), "parent_run_id", None))
        ids = config.get("configurable", {})
        thread = ids.get("thread_id"), str(ids.get("checkpoint_ns", "")).rpartition("|")[0]
        graph.price = self._price
        with _lock:
            unsaved = self._unsaved.pop(thread, ZERO)
        if thread[0] is not None:
            graph.on_end = lambda rest: self._keep(thread, rest)
        return unsaved, _counter.take(graph)

    def _keep(self, thread: _Thread, amount: Decimal) -> None:
        with _lock:
            self._unsaved[thread] = self._unsaved.get(thread, ZERO) + amount
            if len(self._unsaved) > _MAX_UNSAVED:
                del self._unsaved[next(iter(self._unsaved))]

    def _save(self, state: Mapping[str, Any]) -> dict[str, Any]:
        unsaved, new = self._take()
        new += unsaved
        keys = ("thread_spent_usd", "run_spent_usd") if new else ()
        return {key: _add(state.get(key), new) for key in keys}

    def _limits(self, state: Mapping[str, Any]) -> dict[str, Decimal]:
        """Return the limits that are set, by the constructor's names."""
        own = {"thread_limit_usd": self.thread_limit_usd, "run_limit_usd": self.run_limit_usd}
        return {
            name: max(limit, Decimal(state.get(name) or 0))
            for name, limit in own.items()
            if limit is not None
        }

    def _problem(self, state: Mapping[str, Any]) -> str | None:
        """Return a sentence that names the limits reached; `None` if none is."""
        reached = []
        for name, limit in self._limits(state).items():
            which = name.removesuffix("_limit_usd")
            spent = Decimal(state.get(f"{which}_spent_usd") or 0)
            if spent >= limit:
                reached.append(f"this {which} has spent ${spent:f} of ${limit:f}")
        return f"The spend limit is reached: {' and '.join(reached)}." if reached else None

    def _ask(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Interrupt the run until its limits are raised enough, or the resume value is false.

        Returns:
            The raised limits, as an update of the state.
        """
        raised: dict[str, str] = {}
        request: dict[str, Any] = {}
        while problem := self._problem({**state, **raised}):
            limits = self._limits({**state, **raised})
            request |= {"type": "spend_limit", "message": problem}
            request |= {key: state.get(key) for key in ("thread_spent_usd", "run_spent_usd")}
            request |= {name: f"{limit:f}" for name, limit in limits.items()}
            if not (value := interrupt(request)):
                break
            try:
                raised |= _raised_limits(value, limits.keys())
                request = {}
            except ValueError as error:
                request = {"error": str(error)}
        return raised


def _raised_limits(value: object, names: Collection[str]) -> dict[str, str]:
    """Return the limits in the resume value of an interrupt, as an update of the state."""
    given = value if isinstance(value, Mapping) else {}
    amounts = {name: check_limit(given[name], name) for name in names if name in given}
    if not amounts:
        raise ValueError(f"{value!r}: must be False or a dict with {' or '.join(names)}.")
    return {name: f"{amount or ZERO:f}" for name, amount in amounts.items()}


def _closing(messages: Sequence[AnyMessage], text: str) -> list[BaseMessage]:
    """Return an update of `messages` that answers open tool calls and ends with `text`."""
    complete: list[BaseMessage] = [AIMessage(text)]
    results: set[str] = set()
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            results.add(message.tool_call_id)
        if isinstance(message, AIMessage):
            index = next(i for i, m in enumerate(complete) if not isinstance(m, ToolMessage))
            complete[index:index] = [
                ToolMessage(
                    f"Not called: {text}",
                    name=call["name"],
                    tool_call_id=call["id"],
                    status="error",
                )
                for call in (*message.tool_calls, *message.invalid_tool_calls)
                if call["id"] and call["id"] not in results
            ]
            results.clear()  # some servers reuse ids in later messages
        complete.insert(0, message)
    is_complete = len(complete) == len(messages) + 1
    return complete[-1:] if is_complete else [RemoveMessage(id=REMOVE_ALL_MESSAGES), *complete]


def _add(amount: str | None, more: Decimal) -> str:
    return f"{(Decimal(amount or 0) + more).normalize():f}"


@dataclass(eq=False)
class _Run:
    """A run of a chain, tool or retriever.

    Attributes:
        parent: The run around it.
        is_graph: Whether it is the run of a graph, for which calls are counted.
        taken: The part of its sum that the graph's state has.
        price: The function that prices responses without a price.
        on_end: Called at the end of the run with the rest of its sum.
    """

    parent: _Run | None
    is_graph: bool = False
    taken: Decimal = ZERO
    price: _Price | None = None
    on_end: Callable[[Decimal], None] | None = None


class _Counter(SpendTracker):
    """Adds up the calls of chat models for each run of a graph in which they are made.

    A call's tags are the graphs' runs around it, so that `by_tag` has the sum of each run, also
    when the price of a call becomes known later. They are found by the parents of a call's run,
    since several runs may have the same thread.
    """

    raise_error = False

    def __init__(self) -> None:
        super().__init__()
        self._totals.by_tag = WeakKeyDictionary()  # runs end, and the counter stays
        self._runs: dict[UUID, _Run] = {}

    def take(self, graph: _Run) -> Decimal:
        """Return what a graph's run has spent since the last call of this method."""
        with self._exclusive():
            new = self._totals.by_tag.get(graph, Spend()).usd - graph.taken
            graph.taken += new
            return new

    def graph_of(self, node: UUID | None) -> _Run:
        """Return the graph's run of a node's run."""
        run = self._find(node)
        return (run and run.parent) or _Run(None)

    def _find(self, run_id: UUID | None) -> _Run | None:
        """Return the run with this id, else the one around the caller.

        A call with its own callbacks has no parent id, and a call in a function that LangSmith
        traces has one that is not of a LangChain run.
        """
        if run_id not in self._runs:
            config = var_child_runnable_config.get() or {}
            run_id = getattr(config.get("callbacks"), "parent_run_id", None)
        return self._runs.get(run_id) if run_id else None

    def _on_start(
        self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any
    ) -> None:
        self._runs[run_id] = _Run(self._find(parent_run_id))

    on_tool_start = on_retriever_start = _on_start

    @override
    def on_chain_start(self, *_: Any, run_id: UUID, **kwargs: Any) -> None:
        self._on_start(run_id=run_id, parent_run_id=kwargs.get("parent_run_id"))
        graph = self._runs[run_id].parent
        if graph and kwargs.get("name") == (kwargs.get("metadata") or {}).get("langgraph_node"):
            graph.is_graph = True

    def _on_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self._apply(partial(self._end_run, run_id))  # after calls that have just ended in it

    def _end_run(self, run_id: UUID) -> None:
        run = self._runs.pop(run_id, None)
        if run and run.on_end and (rest := self.take(run)):
            run.on_end(rest)

    @override
    def _price_of(self, call: Call, usage: Mapping[str, Any]) -> Decimal | float | None:
        prices = (graph.price(call.model, usage) for graph in call.tags if graph.price)
        return next((price for price in prices if price is not None), None)

    on_chain_end = on_chain_error = _on_end
    on_tool_end = on_tool_error = _on_end
    on_retriever_end = on_retriever_error = _on_end

    @override
    def on_chat_model_start(
        self, *args: Any, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        graphs, run = [], self._find(parent_run_id)
        while run is not None:
            if run.is_graph:
                graphs.append(run)
            run = run.parent
        if graphs:
            super().on_chat_model_start(*args, **{**kwargs, "tags": graphs})


_counter = _Counter()
# LangChain reads the variable when a run starts; the default applies in every context.
register_configure_hook(ContextVar("aimlernie_counter", default=_counter), inheritable=True)
