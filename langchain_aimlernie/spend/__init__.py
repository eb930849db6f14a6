"""Track the cost of calls, and keep it within a budget.

with SpendTracker(limit_usd=0.50) as spend:
    agent.invoke(...)
print(spend)
# 3 calls, 1,204 tokens in, 310 out, 1,812 credits, $0.000906
"""

from langchain_aimlernie.errors import BudgetExceededError
from langchain_aimlernie.spend.amounts import Spend
from langchain_aimlernie.spend.tracker import SpendTracker

__all__ = ["BudgetExceededError", "Spend", "SpendTracker"]
