"""What other files of a tree say of a source file: licence and metadata files, REUSE files, `.gitattributes`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pipeline.readers import reuse
from pipeline.readers.attributes import NAME, AttributeFiles
from pipeline.readers.license_expressions import UNKNOWN
from pipeline.readers.licenses import Found, is_license_file, of_directories, tag_of
from pipeline.readers.package_metadata import is_metadata_file


def is_read_along(path: str) -> bool:
    """Whether a file may say something of other files."""
    return (
        is_license_file(path)
        or is_metadata_file(path)
        or path.rpartition("/")[2] == NAME
        or path.endswith(reuse.BESIDE)
        or reuse.folder_of(path) is not None
    )


def _beside(files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By path, the licence that a side file declares for it."""
    return {path.removesuffix(reuse.BESIDE): tag_of(text) or UNKNOWN for path, text in files if path.endswith(reuse.BESIDE)}


@dataclass(frozen=True)
class Surroundings:
    """What the files of a tree say of others: licences by directory, REUSE files, `.gitattributes`."""

    licenses: Mapping[str, Found] = field(default_factory=dict)
    reuse: reuse.Reuse = reuse.NOTHING
    attributes: AttributeFiles = field(default_factory=lambda: AttributeFiles(()))

    @classmethod
    def read(cls, files: Iterable[tuple[str, str]]) -> Surroundings:
        """From the files of a tree that are read along, each (path, text)."""
        listed = list(files)
        said = replace(reuse.read(listed), beside=_beside(listed))
        return cls(of_directories(listed), said, AttributeFiles(file for file in listed if file[0].rpartition("/")[2] == NAME))

    def with_beside(self, files: Iterable[tuple[str, str]]) -> Surroundings:
        """The same with the side files of single source files."""
        return replace(self, reuse=replace(self.reuse, beside={**self.reuse.beside, **_beside(files)}))
