"""The file systems that know a place: pyarrow's own, else fsspec's."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import cast

import pyarrow as pa
import pyarrow.fs

from storage.errors import Refused, describe, why
from storage.location import Location
from storage.retry import Patience

_OWN = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "file")  # the schemes that pyarrow may know
OBJECT_STORES = ("s3", "gcs")  # which show an object only once it is complete


def open_filesystem(location: Location, patience: Patience | None = None) -> tuple[pa.fs.FileSystem, str]:
    """The file system of a place, and its path there: one of pyarrow's own, else fsspec's of that scheme (hf://, az://, memory://).

    Raises `Refused` where neither knows the scheme, or the URI is wrong, `Unreachable` where what it names cannot be reached.
    """
    if not location.is_uri:
        return pa.fs.LocalFileSystem(), os.path.abspath(location.path)
    tried = patience or Patience()
    return tried.again(lambda: opened(location), f"{location}: cannot be opened", location)


def opened(location: Location) -> tuple[pa.fs.FileSystem, str]:
    """The same, tried once: raises whatever a file system does where its server does not answer."""
    if location.lacks_secrets:
        told = "its secret was left out where it was written"
        raise Refused(f"{location}: cannot be opened", told, "give it by the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    asked = location
    if location.scheme == "s3" and "allow_delayed_open" not in dict(location.options):
        # A small object is then one request, and a larger one is begun when there is something to write.
        asked = replace(location, options=(*location.options, ("allow_delayed_open", "true")))
    try:
        return cast(tuple[pa.fs.FileSystem, str], pa.fs.FileSystem.from_uri(asked.uri))
    except (ValueError, NotImplementedError, ImportError, OSError) as own:
        if location.scheme in _OWN and isinstance(own, OSError) and "Unable to load" not in str(own):
            raise  # a server that did not answer, for one
        if location.scheme in _OWN and isinstance(own, ValueError):
            raise Refused(f"{location}: cannot be opened", why(own, location), "check the URI and its options") from own
        import fsspec  # after pyarrow's own: it is slow to import

        try:
            filesystem, path = fsspec.core.url_to_fs(location.uri)
        except Exception as error:  # each of them has errors of its own
            told = location.scrub(describe(error if "Unrecognized filesystem" in str(own) else own))
            raise Refused(f"{location}: cannot be opened", told, "check the URI, or install what it names") from error
        return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(filesystem)), path
