"""LangChain's messages, tools and parameters to the body of a request."""
