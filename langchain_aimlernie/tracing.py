"""Show the cost of calls in LangSmith.

agent.invoke(..., config={"callbacks": [CostTracer()]})
"""

from __future__ import annotations

from langchain_core.tracers.langchain import LangChainTracer
from langchain_core.tracers.schemas import Run
from typing_extensions import override

from langchain_aimlernie.spend.amounts import price_of

__all__ = ["CostTracer"]


class CostTracer(LangChainTracer):
    """LangChain's tracer for LangSmith, which also sends the price of each response.

    LangSmith does not know the AI/ML API's prices; it shows and sums the `total_cost` that this
    tracer adds to a run. The message is not changed, since LangChain can neither merge nor add
    floats in `usage_metadata`.

    Pass it to the outermost call (`config={"callbacks": [CostTracer()]}`), where it replaces the
    tracer that `LANGSMITH_TRACING=true` adds. It has the arguments of `LangChainTracer`, such as
    `project_name` and `client`; LangSmith's key and address come from the environment.
    """

    @staticmethod
    @override
    def _update_run_single(run: Run) -> None:
        """Send the end of a run, with its cost."""
        metadata = run.extra.get("metadata") or {}
        usage = metadata.get("usage_metadata") or {}
        cost = None if "total_cost" in usage else _cost_of(run)  # it is 0 for a cached response
        if cost is not None:
            # Copies: the metadata may be that of the config, the usage is that of the message.
            usage = {**usage, "total_cost": cost}
            run.extra["metadata"] = {**metadata, "usage_metadata": usage}
        LangChainTracer._update_run_single(run)  # noqa: SLF001  it is what this method overrides


def _cost_of(run: Run) -> float | None:
    """Return the price in the run's response in US dollars; its first choice has it."""
    try:
        message = (run.outputs or {})["generations"][0][0]["message"]["kwargs"]
        price = price_of(message["response_metadata"])
    except (IndexError, KeyError, TypeError):
        return None
    return None if price is None else float(price)
