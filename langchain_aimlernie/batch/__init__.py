"""Many prompts with one command or one class: paced, within a budget, resumable.

from langchain_aimlernie.batch import BatchRun

report = BatchRun(llm, "out.jsonl", limit_usd=5).run({"prompt": text} for text in texts)
"""

from langchain_aimlernie.batch.rows import BatchError, RowFile
from langchain_aimlernie.batch.run import BatchEstimate, BatchReport, BatchRun

__all__ = ["BatchError", "BatchEstimate", "BatchReport", "BatchRun", "RowFile"]
