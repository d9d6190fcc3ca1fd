"""Groups of documents that belong together and are held out whole: a package over its versions, a site, a paper.

A document's group is told from what its reader found: `meta`, `path`, `url` and `title`. One of which nothing is known is its own group.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

COLUMNS = ("url", "title", "path", "meta")  # of documents/, by which a group is told
Row = Mapping[str, Any]

# What datasets of code call the repository or package of a file, ours first.
_REPOSITORY = ("repository", "repository_name", "repo_name", "max_stars_repo_name", "repo", "package", "project")
_FORGES = ("github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "raw.githubusercontent.com")
# What follows a package's name in the folder of a release or of a branch: -2.1.9, -v3, _0.1.dev0, -main.
_VERSION = re.compile(r"[-_](?:v?\d{1,9}\.\d[\w.+!-]{0,60}|v\d{1,9}|main|master)$")
_ARXIV = re.compile(r"arxiv(?:\.org/(?:abs|pdf|html)/|[.:/])([a-z.-]{2,20}/\d{7}|\d{4}\.\d{4,5})", re.IGNORECASE)
_ARXIV_VERSION = re.compile(r"v\d{1,4}$")
_DOI = re.compile(r"10\.\d{4,9}/\S+")
_IDENTIFIERS = ("pmcid", "pmid", "corpusid", "corpusId", "paper_id", "paperId", "acl_id", "mag_id")
_LEAST_WORDS = 4  # of a title that names a paper: not `Editorial` nor `Correction to`
_LONGEST = 300  # characters of a name


def _text(value: Any) -> str:
    return value.strip()[:_LONGEST] if isinstance(value, str) else str(value) if isinstance(value, int) and value else ""


def _meta(row: Row) -> dict[str, Any]:
    try:
        found = json.loads(row["meta"]) if row["meta"] else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _unversioned(name: str) -> str:
    return _VERSION.sub("", name.casefold().removesuffix(".git").removesuffix(".dist-info").removesuffix(".egg-info"))


def _location(url: str) -> tuple[str, str]:
    """The host of a URL without `www.`, and its path; empty where it is none."""
    try:
        found = urlsplit(url)
        return (found.hostname or "").removeprefix("www."), found.path.strip("/")
    except ValueError:
        return "", ""


def repository(row: Row) -> str | None:
    """The repository or package of a file, the same for all its versions: OWNER/NAME, or the name of a release without the version."""
    meta = _meta(row)
    name = next((found for key in _REPOSITORY if (found := _text(meta.get(key)))), "")
    for url in (name, row["url"] or ""):
        host, path = _location(url)
        if host in _FORGES and path.count("/"):
            name = "/".join(path.split("/")[:2])
            break
    if not name and row["path"] and "/" in row["path"]:
        name = row["path"].lstrip("./").split("/", 1)[0][:_LONGEST]
    return _unversioned(name) or None


def path(row: Row) -> str | None:
    """A file in all versions of its repository or package: the repository, and the path within it."""
    if not row["path"]:
        return None
    whole = repository(row) or ""
    first, _, inner = row["path"].lstrip("./").partition("/")
    return f"{whole} {inner if inner and _unversioned(first) == whole.rsplit('/', 1)[-1] else row['path']}"


def host(row: Row) -> str | None:
    """The site of a page: the host of its URL without `www.`."""
    return _location(row["url"] or "")[0] or None


def paper(row: Row) -> str | None:
    """A paper: by its arXiv number without the version, its DOI, or another id; where there is none, by a title of at least four words."""
    meta = _meta(row)
    doi = _DOI.search(_text(meta.get("doi")) or row["url"] or "")
    for text in (doi.group() if doi else "", row["url"] or ""):
        if found := _ARXIV.search(text):
            return f"arxiv {found.group(1).casefold()}"
    if arxiv := _text(meta.get("arxiv")) or _text(meta.get("arxiv_id")):
        return f"arxiv {_ARXIV_VERSION.sub('', arxiv.casefold())}"
    if doi:
        return f"doi {doi.group().casefold()}"
    for key in _IDENTIFIERS:
        if found_id := _text(meta.get(key)):
            return f"{key.casefold()} {found_id.casefold()}"
    words = re.findall(r"\w+", (row["title"] or "")[:_LONGEST].casefold())
    return f"title {' '.join(words)}" if len(words) >= _LEAST_WORDS else None


KINDS: dict[str, Callable[[Row], str | None]] = {
    "document": lambda row: None,
    "path": path,
    "repository": repository,
    "host": host,
    "paper": paper,
}
