"""The settings: their fields, checks, construction and error messages."""
