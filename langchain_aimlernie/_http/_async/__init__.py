"""The async transport, from which the sync one is generated."""
