"""Show in LangSmith what the calls of a model cost.

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

    LangSmith knows no prices of the AI/ML API; it shows and sums the `total_cost` that this tracer
    adds to the run. The message itself stays as it is, since LangChain can neither merge nor add up
    floats in `usage_metadata`.

    Give it to the outermost call (`config={"callbacks": [CostTracer()]}`): it then takes the place
    of the tracer that `LANGSMITH_TRACING=true` adds. It takes the same arguments, among them
    `project_name` and `client`; the key and the address of LangSmith come from the environment.
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
    """Return the US dollars that the run's response states; its first choice has the price."""
    try:
        message = (run.outputs or {})["generations"][0][0]["message"]["kwargs"]
        price = price_of(message["response_metadata"])
    except (IndexError, KeyError, TypeError):
        return None
    return None if price is None else float(price)
