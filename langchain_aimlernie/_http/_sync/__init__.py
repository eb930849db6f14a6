# Generated from _async/__init__.py by .ci/unasync.py; do not edit.
"""The async transport, from which the sync one is generated."""
