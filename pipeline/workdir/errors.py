"""Errors of the user's making. Their message is one line: what, where, and what to do about it."""

from __future__ import annotations


class UserError(Exception):
    """Shown as it is, without a traceback; the command ends with exit code 2."""


class CorruptData(UserError):
    """Stored data that is not what its manifest says. The stage stops; nothing is read past it."""
