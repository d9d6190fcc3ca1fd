"""JSON: one object a line, an array, an object of records, or a single record; and the mapping of fields to ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pipeline.readers.config import RECORD_FIELDS, EncodedSource, FieldsSource
from pipeline.readers.decode import decode, describe_bytes, lines_of
from pipeline.readers.facts import fact, plain
from pipeline.readers.record import RAW_BYTES, Record, Unreadable
from pipeline.readers.streams import STREAM_ERRORS, Member, TooLarge, describe, read_all, rejoin

# What a JSON document may take as Python holds it, but for the characters of its texts; keeps a worker under 1 GB.
MAX_PARSED_BYTES = 400 << 20
# Bytes of an object, an array, a value or key of one, and a string, at most, measured with CPython 3.11 on documents of nothing else.
_COSTS = {"{": 120, "[": 104, ",": 40, ":": 40, '"': 28}
_CHEAP = 1 << 22  # characters, that cannot take more whatever they are
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_PIECES = re.compile(rf"(?:[^\"]++|{_STRING.pattern}){{1,50000}}+", re.DOTALL)


class RecordsSource(FieldsSource, EncodedSource):
    """Files of records with named fields, written as text."""


class TooManyValues(ValueError):
    """JSON that would take too much memory to parse: tiny objects take thirty times their text."""


def parse(text: str) -> Any:
    """JSON as Python has it. Raises `ValueError` (`TooManyValues` of what would take over `MAX_PARSED_BYTES`) and `RecursionError`."""
    if len(text) > _CHEAP and _cost(text) > MAX_PARSED_BYTES:
        cost = 0  # again, without what is in strings, piece by piece
        for piece in _PIECES.finditer(text):
            cost += _cost(_STRING.sub('""', piece[0]))
        if cost > MAX_PARSED_BYTES:
            raise TooManyValues(f"{len(text)} characters would take up to {cost >> 20} MB to parse, over {MAX_PARSED_BYTES >> 20}")
    return json.loads(text)


def _cost(text: str) -> int:
    return sum(bytes * text.count(mark) for mark, bytes in _COSTS.items())


def pick(record: dict[str, Any], path: str) -> Any:
    """A field by its dotted path, or None. A field whose own name has dots is found first."""
    if path in record:
        return record[path]
    value: Any = record
    for part in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _text(value: Any) -> str | None:
    """A record's text: a string, the paragraphs of a list, or bytes of UTF-8."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "\n\n".join(value)
    return plain(value)


def to_record(raw: dict[str, Any], place: str, source: FieldsSource, *, key: str | None = None) -> Record | Unreadable:
    """A mapped record. `place` is its location, and its id where it has none; `key` is its key in an object of records."""
    ours: dict[str, Any] = {}
    used = set()
    for name in RECORD_FIELDS:
        path = source.fields.get(name, name)
        value = pick(raw, path)
        if value is None:
            used.add(path.split(".")[0])
            continue
        text = _text(value) if name == "text" else fact(name, value)
        if text is not None:
            ours[name] = text
            used.add(path.split(".")[0])
        elif name == "text":
            return Unreadable(place, f"field {path} is a {type(value).__name__}, not text", _raw(raw))
    if "text" not in ours:
        wanted = source.fields.get("text", "text")
        return Unreadable(place, f"no field {wanted}; it has: {', '.join(sorted(map(str, raw))[:12])}", _raw(raw))
    ours["id"] = ours.get("id") or key or place
    meta = {name: value for name, value in raw.items() if name not in used}
    return Record(**ours, meta=meta)


def _raw(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=True, default=str).encode()[:RAW_BYTES]


def read_lines(member: Member, source: RecordsSource) -> Iterator[Record | Unreadable]:
    """JSON Lines. A line that is too long, not UTF-8, not JSON or not an object is unreadable, and the next one is read."""
    for item in objects(member, source):
        yield item if isinstance(item, Unreadable) else to_record(item[1], item[0], source)


def objects(member: Member, source: EncodedSource) -> Iterator[tuple[str, dict[str, Any]] | Unreadable]:
    """The objects of JSON Lines with their places. (Places in bytes are those of the text in UTF-8, where it is in UTF-16.)"""
    offset = number = 0
    stream, encoding = lines_of(member.stream, source.encoding)
    while True:
        try:
            line = stream.readline(source.max_record_bytes + 1)
        except STREAM_ERRORS as error:
            yield Unreadable(f"{member.path}#{number + 1} (byte {offset})", f"the rest cannot be read: {describe(error)}")
            return
        if not line:
            return
        number += 1
        place, begin = f"{member.path}#{number}", offset
        offset += len(line)
        if len(line) > source.max_record_bytes and not line.endswith(b"\n"):
            head = line[:RAW_BYTES]
            while line and not line.endswith(b"\n"):  # skipped in pieces, never held whole
                line = stream.readline(1 << 20)
                offset += len(line)
            why = f"a line of {offset - begin} bytes, over max_record_bytes ({source.max_record_bytes})"
            yield Unreadable(f"{place} (byte {begin})", why, head)
            continue
        if not line.strip():
            continue
        try:
            record = parse(decode(line, encoding))
        except UnicodeDecodeError as error:
            yield Unreadable(f"{place} (byte {begin + error.start})", describe_bytes(error), line[:RAW_BYTES])
            continue
        except TooManyValues as error:
            yield Unreadable(f"{place} (byte {begin})", str(error), line[:RAW_BYTES])
            continue
        except (ValueError, RecursionError) as error:
            yield Unreadable(f"{place} (byte {begin})", f"not JSON: {describe(error)}", line[:RAW_BYTES])
            continue
        if isinstance(record, dict):
            yield place, record
        else:
            yield Unreadable(f"{place} (byte {begin})", f"a JSON {type(record).__name__}, not an object", line[:RAW_BYTES])


def load(member: Member, source: EncodedSource) -> Any | Unreadable:
    """A member's JSON, or why there is none."""
    data = b""
    try:
        data = read_all(member, source)
        return parse(decode(data, source.encoding))
    except TooLarge as error:
        return Unreadable(member.path, describe(error))
    except UnicodeDecodeError as error:
        return Unreadable(f"{member.path} (byte {error.start})", describe_bytes(error), data[:RAW_BYTES])
    except TooManyValues as error:
        return Unreadable(member.path, str(error), data[:RAW_BYTES])
    except (ValueError, RecursionError) as error:
        return Unreadable(member.path, f"not JSON: {describe(error)}", data[:RAW_BYTES])


def read(member: Member, source: RecordsSource) -> Iterator[Record | Unreadable]:
    """A JSON file: an array of records, an object whose values are records (its keys are their ids), or one record."""
    value = load(member, source)
    if isinstance(value, Unreadable):
        yield value
    elif isinstance(value, list):
        for index, record in enumerate(value):
            place = f"{member.path}#{index}"
            if isinstance(record, dict):
                yield to_record(record, place, source)
            else:
                yield Unreadable(place, f"a JSON {type(record).__name__}, not an object")
    elif isinstance(value, dict):
        text = pick(value, source.fields.get("text", "text"))
        if text is None and value and all(isinstance(record, dict) for record in value.values()):
            for key, record in value.items():
                yield to_record(record, f"{member.path}#{key}", source, key=key)
        else:
            yield to_record(value, member.path, source)
    else:
        yield Unreadable(member.path, f"a JSON {type(value).__name__}, not records")


def read_any(member: Member, source: RecordsSource) -> Iterator[Record | Unreadable]:
    """A .json file of a dataset, which may hold JSON Lines: its first line is an object then, and more follow."""
    stream, encoding = lines_of(member.stream, source.encoding)
    first = stream.readline(source.max_record_bytes + 1)
    more = stream.read(1) if first.endswith(b"\n") else b""
    stream = rejoin(first + more, stream)
    try:
        lines = bool(more) and isinstance(parse(decode(first, encoding)), dict)
    except (ValueError, RecursionError):
        lines = False
    yield from (read_lines if lines else read)(replace(member, stream=stream), source.model_copy(update={"encoding": encoding}))
