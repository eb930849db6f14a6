# Generated from _async/__init__.py by .ci/unasync.py; do not edit.
"""The sync transport."""
