"""Structured output: schemas, the parsing of completions, and the repair loop."""
