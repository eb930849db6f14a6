"""A call as a `SpendTracker` counts it."""

from decimal import Decimal

from langchain_aimlernie.spend import Spend

ONE_CALL = Spend(
    calls=1,
    input_tokens=100,
    cached_tokens=40,
    output_tokens=20,
    reasoning_tokens=5,
    credits=Decimal(300),
    usd=Decimal("0.00015"),
)
