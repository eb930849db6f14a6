"""The command line. LangChain is imported when a command needs it, so that `--help` is fast."""
