"""What a record says of its text beside it, of whatever type its file has: as the strings that documents have for it.

Nothing here costs a text: what cannot be made a string of its kind stays with the rest of the record, in `meta`.
"""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from pipeline.readers.license_expressions import combine, normalise

_SECONDS = (100_000_000, 10_000_000_000)  # numbers that are days after 1970 in seconds, from 1973 to 2286


def fact(name: str, value: Any) -> str | None:
    """A field of a record (`id`, `url`, `title`, `language`, `license`, `date`, `path`) as text; None where the value is none of that.

    Dates come out as ISO 8601: of dates, of seconds and milliseconds since 1970, and of the dates of mail. Licences are SPDX expressions
    where they are known, of a list all of them; of a list of languages the first counts. Bytes are text in UTF-8, and else, of an `id`, a
    UUID or their hexadecimal digits.
    """
    if name == "license":
        return license_of(value)
    if isinstance(value, list | tuple):
        value = next((item for item in value if item is not None), None) if name == "language" or len(value) == 1 else None
    if name == "date":
        return _date(value)
    return plain(value, is_id=name == "id")


def plain(value: Any, *, is_id: bool = False) -> str | None:
    """A value that is one thing, as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return (str(uuid.UUID(bytes=value)) if len(value) == 16 else value.hex()) if is_id else None
    if isinstance(value, float):
        return None if value != value or value in (float("inf"), float("-inf")) else str(value)
    if isinstance(value, int | Decimal | uuid.UUID):
        return str(value)
    return value.isoformat() if isinstance(value, date | time) else None


def _date(value: Any) -> str | None:
    if isinstance(value, datetime) and value.tzinfo is None and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1000 if value >= _SECONDS[1] else value
        if _SECONDS[0] <= seconds < _SECONDS[1]:
            return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, str) and value[:1].isalpha() and "," in value[:5]:  # as in mail and HTTP: Tue, 03 Mar 2020 10:00:00 GMT
        try:
            return parsedate_to_datetime(value).isoformat()
        except ValueError:
            return value
    return plain(value)


def license_of(value: Any) -> str | None:
    """A licence as it is written, or several that all apply; as an SPDX expression where every part is known, else as it is written."""
    parts = [part for part in (value if isinstance(value, list | tuple) else [value]) if part is not None]
    texts = [text for part in parts if (text := plain(part)) is not None and text.strip()]
    if not texts or len(texts) != len(parts):
        return None
    known = [normalise(text) for text in texts]
    return combine([name for name in known if name], "AND") if all(known) else "; ".join(texts)


def as_json(value: Any) -> Any:
    """A value of a record as JSON has it: dates in ISO 8601, decimals and UUIDs as text, bytes as text or hexadecimal digits, and null for
    what is no number. What is nested deeper than 100 is null.
    """

    def walk(part: Any, depth: int) -> Any:
        if isinstance(part, str | bool | int) or part is None:
            return part
        if isinstance(part, float):
            return part if plain(part) is not None else None
        if isinstance(part, dict):
            return {str(key): walk(item, depth + 1) for key, item in part.items()} if depth < 100 else None
        if isinstance(part, list | tuple):
            return [walk(item, depth + 1) for item in part] if depth < 100 else None
        text = plain(part, is_id=True)
        return str(part) if text is None else text

    return walk(value, 0)
