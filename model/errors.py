"""The package's error."""

from __future__ import annotations


class ModelError(ValueError):
    """A configuration, a checkpoint or an input that cannot work. The message is one line naming the field or key."""
