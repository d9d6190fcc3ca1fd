"""Errors that a user can correct. Their message is one line: what, where, and what to do about it."""

from __future__ import annotations


class UserError(Exception):
    """An error that is shown as it is, without a traceback; the command ends with exit code 2."""


class CorruptData(UserError):
    """Stored data that differs from its manifest. The stage stops."""
