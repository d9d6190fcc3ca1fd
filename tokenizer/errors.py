"""The package's error."""

from __future__ import annotations


class TokenizerError(Exception):
    """A tokenizer that cannot be made, read or used. The message is one line: what, where, what to do."""
