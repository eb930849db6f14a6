"""Decode the bytes of a response to LangChain's messages and chunks, or to an error."""
