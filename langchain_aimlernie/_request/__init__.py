"""Encode LangChain's messages, tools and parameters as the body of a request."""
