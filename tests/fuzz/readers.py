"""Fuzz a reader with atheris (`pip install atheris`): whatever the bytes, it yields items and raises nothing.

    python -m tests.fuzz.readers FORMAT [CORPUS_FOLDER] [-max_total_time=60 and other options of libFuzzer]

FORMAT is a reader's (warc, wet, html, csv, ...), or tar, zip or gz: an archive of text. It ends with the input that made it raise,
where one did (crash-*), and else with the number of inputs it ran.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import atheris

import pipeline.readers.bounds  # numba's, which cannot be instrumented: they come first
import pipeline.readers.markup  # noqa: F401

with atheris.instrument_imports(include=["pipeline.readers", "tarfile", "zipfile", "csv"]):
    from pipeline.readers import READERS, InputFile, PassedOver, Record, SourceConfig, Unreadable, read_file
    from pipeline.readers.files import STREAM_ERRORS, Member

ARCHIVES = ("tar", "zip", "gz")
NAMES = {"code": "x.py", "huggingface": "x.csv", "csv": "x.csv"}


def main() -> None:
    """Fuzz until told to stop."""
    format = sys.argv[1]
    settings = {
        "name": "fuzz",
        "domain": "web",
        "format": "text" if format in ARCHIVES else format,
        "path": "x",
        "max_record_bytes": 1 << 16,
    }
    source = SourceConfig.model_validate(settings)
    folder = Path(tempfile.mkdtemp())

    def items(data: bytes) -> Any:
        if format in ARCHIVES:
            path = folder / f"x.{format}"
            path.write_bytes(data)
            yield from read_file(InputFile(str(path), path.name, len(data), "x"), source)
            return
        try:
            yield from READERS[cast(Any, format)](Member("x", NAMES.get(format, "x"), io.BytesIO(data), len(data)), source)
        except STREAM_ERRORS:  # read_file makes something unreadable of these
            return

    def one(data: bytes) -> None:
        for item in items(data):
            assert isinstance(item, Record | Unreadable | PassedOver)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
