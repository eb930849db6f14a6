"""The settings: how values are checked, the fields, and how errors read."""
