"""Licences of source files and of packages beside ScanCode's: precision, recall, and every answer of ours that permits more.

    python -m benchmarks.licences --material FOLDER [--scancode PROGRAM] [--files FILE.json --packages FILE.json]

The material is a folder with one unpacked package a folder (`pip download` and unzip, `npm install --ignore-scripts`, `apt-get source`),
of which files and packages are drawn by the hash of their names: of files those whose heads speak of licences at all, no two of one head
in a package. ScanCode runs as a program of its own over copies of what was drawn; `--files` and `--packages` are its results of an earlier
run, of which the names are taken, too. Only names and answers are kept.

An answer is right where both give the same licences, however they are joined. Where ScanCode's is a name of its own or unknown, there is no
SPDX name to compare with: then ours is right if it names no licence that SPDX has, either. ScanCode reads the whole of a file, and what it
says of others' licences; ours reads its head. Ours permits more where its expression is permissive and ScanCode's is not: each of those
rows has a reason, by hand in `REASONS`, or none yet.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xxhash

from benchmarks.results_file import Row, show, write
from pipeline.filters.licenses import is_allowed
from pipeline.readers.languages import language_of
from pipeline.readers.licenses import is_license_file, license_of, of_directories
from pipeline.readers.package_metadata import is_metadata_file

FILES, PACKAGES = 900, 208
PER_PACKAGE = 6  # files of one package that are drawn, at most
SAME_HEADS = 3  # files of one head that are drawn, at most
LARGEST = 200_000  # bytes of a file that is drawn
_WORDS = ("licen", "copyright", "spdx", "redistribut", "proprietary", "confidential", "publicdomain")
_NO_CODE = (".md", ".rst", ".txt", ".json", ".html", ".map", ".po")
_PUBLIC = re.compile(r"LicenseRef-scancode-(?:public-domain|other-permissive)[\w-]*|LicenseRef-public-domain")

# What ScanCode says of a line such as `License-File: LICENSE` or "see LICENSE": it names a file, and no licence.
_REFERENCE = re.compile(r"LicenseRef-scancode-(?:unknown-license-reference|free-unknown|unknown)\b|LicenseRef-scancode-generic-cla\b")
REFERENCE = "ScanCode counts the metadata's line that names the licence's file as a licence that it does not know; that file is read here"
# Why else an answer of ours permits more than ScanCode's and is right, by the beginning of the file's or package's name: each was read.
REASONS = {
    "deb-libevent_2.1.12-stable/sample/openssl_hostname_validation.c": (
        "the head has the MIT licence's words; `License: See LICENSE` behind them is of the project that the file is from"
    ),
    "deb-pcre2": "the exception, for binaries, only adds to BSD-3-Clause",
    "npm-deep-is-0.1.4/README.markdown": (
        "says that it is released under the MIT licence; LICENSE, which it names for details, has that licence's words"
    ),
    "pypi-ast_serialize": (
        "metadata says MIT; ScanCode counts its lines that name files. LICENSE has the MIT licence's words, and so has "
        "crates/LICENSE, of Ruff's crates and what they are derived from"
    ),
    "pypi-awkward_cpp": (
        "metadata says `BSD-3-Clause AND MIT`; ScanCode counts its lines that name files. RapidJSON's file names the JSON "
        "licence for a folder that the wheel lacks"
    ),
    "pypi-fonttools-4.68.0/fontTools/misc/filesystem/__init__.py": (
        "says that what it is derived from is used under the MIT licence; LICENSE.external has that licence's words, and LICENSE, too"
    ),
    "pypi-gevent-26.9.0/gevent/resolver/_addresses.py": (
        "names the ISC licence for what is from dnspython and has the words of its kin; LICENSE, for the rest, is the MIT's"
    ),
    "pypi-htmldate": "the GPL was the licence of earlier versions, as its description says",
    "pypi-librt": (
        "metadata says MIT; the licence file's other texts, Python's and BSD-2-Clause, are of parts that it names, and permissive"
    ),
    "pypi-ninja": "CC-BY-4.0 is the logo's, as its description says; metadata and licence file say Apache-2.0",
    "pypi-packaging-26.4/packaging/licenses/__init__.py": (
        "the head has the MIT licence's words; ScanCode takes code that handles `licenseref-` for a proprietary licence "
        "(Apache-2.0, in both answers, is of an example)"
    ),
    "pypi-pandas": (
        "metadata says BSD-3-Clause; the licence file's other texts are of what is bundled, and permissive. Python's tells that "
        "it is compatible with the GPL, musl's exception only adds"
    ),
    "pypi-pyarrow-26.0.1/pyarrow/include/arrow/io/mman.h": (
        "the head says MIT; ScanCode takes that sentence, for its `You may obtain a copy of the License at`, for the MPL's"
    ),
    "pypi-pyparsing": "metadata and licence file say MIT; ScanCode takes mentions of Python in its description for Python's licence",
    "pypi-roman_numerals": (
        "metadata says `0BSD OR CC0-1.0`, and the licence file, which has both texts, `either`; ScanCode joins them by AND, and "
        "counts the lines that name the file"
    ),
    "pypi-scikit_learn": (
        "metadata and the first text of the licence file say BSD-3-Clause; the second is the GPL's exception for the compiler's "
        "run-time library, a binary that it says is bundled. ScanCode counts `is distributed under` as a licence that it does not know"
    ),
    "pypi-scipy-1.17.1/scipy/interpolate/_rbf.py": (
        "the head has the words of BSD-3-Clause and names SciPy's licence, which is that, too; a disclaimer of warranty is no licence"
    ),
    "pypi-scipy-1.17.1/scipy/io/_fast_matrix_market": (
        "tag and words of the head say BSD-2-Clause; ScanCode takes `governed by ... found in the LICENSE.txt file` for a "
        "proprietary licence"
    ),
    "pypi-scons-4.11.1/SCons/Tool/ninja_tool/NinjaState.py": (
        "the head has the MIT licence's name and words, one line of them twice, which ScanCode takes for a proprietary licence"
    ),
    "pypi-smart_open-9.0.2/smart_open/": "the head says MIT; ScanCode takes `distributed under the terms and conditions` for the EUPL's",
    "pypi-trafilatura": "the GPL was the licence of earlier versions, as its description says",
    "pypi-twisted": (
        "metadata, description and licence file say MIT; ScanCode takes the description's disclaimer of warranty for the MS-PL's"
    ),
}


@dataclass(frozen=True)
class Compared:
    """A file or package: its name, both answers, and whether ours permits more."""

    name: str
    ours: str | None
    scancode: str | None
    right: bool
    permits_more: bool
    reason: str | None = None


def _order(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode())


def _inside(package: Path) -> Iterator[Path]:
    yield from (path for path in package.rglob("*") if path.is_file() and not path.is_symlink() and 0 < path.stat().st_size <= LARGEST)


def draw_files(material: Path) -> list[str]:
    """Names of source files whose heads speak of licences."""
    drawn: list[str] = []
    everywhere: dict[str, int] = {}
    for package in sorted(os.listdir(material)):
        names = [path.relative_to(material).as_posix() for path in _inside(material / package)]
        heads: set[str] = set()
        for name in sorted(names, key=_order):
            if is_license_file(name) or is_metadata_file(name) or ".dist-info" in name or name.endswith(_NO_CODE) or not language_of(name):
                continue
            head = re.sub(r"[^a-z]+", "", (material / name).read_bytes()[: 1 << 13].decode("utf-8", "replace").lower())
            places = [at for word in _WORDS if (at := head.find(word)) >= 0]
            key = head[min(places) :][:250] if places else ""
            if places and key not in heads and everywhere.get(key, 0) < SAME_HEADS:
                heads.add(key)
                everywhere[key] = everywhere.get(key, 0) + 1
                drawn.append(name)
                if len(heads) >= PER_PACKAGE:
                    break
    return sorted(drawn, key=_order)[:FILES]


def draw_packages(material: Path) -> list[str]:
    """Names of the licence and metadata files of packages, at their roots or in their `.dist-info`."""
    drawn = []
    for package in sorted(os.listdir(material), key=_order)[:PACKAGES]:
        for path in _inside(material / package):
            inner = path.relative_to(material / package)
            name = path.relative_to(material).as_posix()
            if (is_license_file(name) or is_metadata_file(name)) and (
                len(inner.parts) == 1 or (".dist-info" in name and len(inner.parts) <= 3)
            ):
                drawn.append(name)
    return drawn


def scan(program: str, material: Path, names: list[str], *options: str) -> dict[str, Any]:
    """ScanCode's results for copies of these files."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            copy = Path(folder, "in", name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(material / name, copy)
        out = Path(folder, "out.json")
        subprocess.run([program, "--license", *options, "--quiet", "--json", str(out), str(Path(folder, "in"))], check=True)
        return json.loads(out.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def names_in(expression: str | None) -> frozenset[str]:
    """The licences of an expression that SPDX has, and public domain."""
    found = re.findall(r"[A-Za-z0-9.+-]+", _PUBLIC.sub("public-domain", expression or ""))
    return frozenset(name for name in found if name not in ("AND", "OR", "WITH") and not name.startswith("LicenseRef-"))


def permits(expression: str | None) -> bool:
    """Whether one may use the work under permissive licences alone, with ScanCode's names for those that SPDX lacks."""
    return is_allowed(_PUBLIC.sub("LicenseRef-public-domain", expression or "") or None)


def compare(name: str, ours: str | None, scancode: str | None) -> Compared:
    """Both answers of one file or package."""
    more = permits(ours) and not permits(scancode)
    return Compared(name, ours, scancode, names_in(ours) == names_in(scancode), more, _reason(name, scancode) if more else None)


def _reason(name: str, scancode: str | None) -> str | None:
    """Why ours may permit more: by hand; else of a package, whose licence files are read, since what remains of ScanCode's without
    references to files is permissive or nothing."""
    if told := next((reason for begin, reason in REASONS.items() if name.startswith(begin)), None):
        return told
    if "/" in name or not scancode or not _REFERENCE.search(scancode):
        return None
    rest = _REFERENCE.sub("MIT", scancode)
    return REFERENCE if permits(rest) else None


def _relative(path: str) -> str:
    """A path of ScanCode's without the folder that was scanned."""
    return path.split("/", 1)[1] if "/" in path else ""


def of_files(material: Path, scanned: dict[str, Any]) -> list[Compared]:
    """Every file's own licence, as its head declares it, beside what ScanCode detects in it."""
    found = []
    for entry in scanned["files"]:
        name = _relative(entry["path"])
        if entry["type"] == "file":
            own = license_of(name, (material / name).read_bytes().decode("utf-8", "replace"), {}, None)
            found.append(compare(name, own.expression if own else None, entry["detected_license_expression_spdx"]))
    return sorted(found, key=lambda each: each.name)


def of_packages(material: Path, scanned: dict[str, Any]) -> list[Compared]:
    """Every package's licence from its licence files and metadata, beside what ScanCode says that it declares, else detects in them."""
    texts: dict[str, list[tuple[str, str]]] = {}
    said: dict[str, tuple[list[str], list[str]]] = {}
    for entry in scanned["files"]:
        if entry["type"] != "file":
            continue
        name = _relative(entry["path"])
        package = name.split("/")[0]
        texts.setdefault(package, []).append((name.split("/", 1)[1], (material / name).read_bytes().decode("utf-8", "replace")))
        declared, detected = said.setdefault(package, ([], []))
        declared += [data["declared_license_expression_spdx"] for data in entry.get("package_data", [])]
        if is_license_file(name):
            detected.append(entry["detected_license_expression_spdx"])
    found = []
    for package, files in sorted(texts.items()):
        ours = of_directories(files).get("")
        told = [[each for each in dict.fromkeys(part) if each] for part in said[package]]
        theirs = " AND ".join(f"({each})" for each in (told[0] or told[1])) or None
        found.append(compare(package, ours.expression if ours else None, theirs))
    return found


def figures(what: str, compared: list[Compared]) -> list[Row]:
    """Precision, recall and what permits more."""
    answered = [each for each in compared if names_in(each.ours)]
    theirs = [each for each in compared if names_in(each.scancode)]
    more = [each for each in compared if each.permits_more]
    return [
        Row(f"{what} compared", "number", len(compared)),
        Row(f"{what}: precision beside ScanCode", "share", sum(each.right for each in answered) / max(1, len(answered))),
        Row(f"{what}: recall beside ScanCode", "share", sum(each.right for each in theirs) / max(1, len(theirs))),
        Row(f"{what}: ours permits more", "number", len(more)),
        Row(f"{what}: ours permits more, without a reason", "number", sum(not each.reason for each in more), goal=0, at_most=True),
        Row(f"{what}: ours permits less", "number", sum(permits(each.scancode) and not permits(each.ours) for each in compared)),
    ]


def main() -> None:
    """Compare, print and write `results/licences.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--material", type=Path, required=True)
    parser.add_argument("--scancode", default="scancode")
    parser.add_argument("--files", type=Path)
    parser.add_argument("--packages", type=Path)
    arguments = parser.parse_args()
    material: Path = arguments.material
    if arguments.files:
        scanned = json.loads(arguments.files.read_text(encoding="utf-8"))
    else:
        scanned = scan(arguments.scancode, material, draw_files(material))
    files = of_files(material, scanned)
    if arguments.packages:
        scanned_packages = json.loads(arguments.packages.read_text(encoding="utf-8"))
    else:
        scanned_packages = scan(arguments.scancode, material, draw_packages(material), "--package")
    packages = of_packages(material, scanned_packages)
    rows = [*figures("source files", files), *figures("packages", packages)]
    show(rows)
    version = scanned["headers"][0]["tool_version"]
    path = write("licences", rows, ("encoder-foundry", "license-expression", "licenseclassifier"))
    body = json.loads(path.read_text(encoding="utf-8"))
    body["versions"]["scancode-toolkit"] = version
    body["table"] = {
        what: [{key: value for key, value in asdict(each).items() if value is not None} for each in compared]
        for what, compared in (("files", files), ("packages", packages))
    }
    path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
