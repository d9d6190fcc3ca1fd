"""What other files of a tree say of a source file: REUSE, `.gitattributes`; all of linguist's languages; what is passed over is counted."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.readers import PassedOver, Record, languages, list_files, read_file
from pipeline.readers.attributes import AttributeFiles
from pipeline.readers.data import rows
from pipeline.readers.generated import generated, vendored
from pipeline.readers.reuse import is_of
from tests.pipeline.readers.test_code import MIT, git, read, repository, source, tree


def passed(root: Path, **keys: object) -> Counter[str]:
    chosen = source(root, **keys)
    return Counter(item.kind for file in list_files(chosen, Path("/")) for item in read_file(file, chosen) if isinstance(item, PassedOver))


# --- REUSE ---------------------------------------------------------------------------------------------------------------

TOML = """version = 1
[[annotations]]
path = ["data/**", "a.py"]
SPDX-License-Identifier = "CC0-1.0"
[[annotations]]
path = "over/*.py"
precedence = "override"
SPDX-License-Identifier = "ISC"
[[annotations]]
path = "both/*.py"
precedence = "aggregate"
SPDX-License-Identifier = ["ISC", "Zlib"]
[[annotations]]
path = "odd.py"
SPDX-License-Identifier = "Moon terms"
"""
TAG = "# SPDX-License-Identifier: MIT\n"


def test_reuse_by_its_precedence(tmp_path: Path) -> None:
    root = tree(tmp_path, {
        "p/REUSE.toml": TOML, "p/LICENSES/MIT.txt": MIT, "p/LICENSES/ISC.txt": "...", "p/a.py": "x = 1", "p/data/x/b.py": "x = 2", "p/data/c.py": TAG, "p/over/d.py": TAG, "p/over/in/e.py": TAG, "p/both/f.py": TAG,
        "p/odd.py": "x = 3", "p/g.py": TAG, "p/g.py.license": "SPDX-License-Identifier: BSD-2-Clause\n", "p/none.py": "x = 4",
        "q/.reuse/dep5": "Format: x\n\nFiles: *\nLicense: ISC\n\nFiles: sub/*.py\nLicense: Zlib\n", "q/h.py": "x = 5", "q/sub/deep/i.py": "x = 6",
    })  # fmt: skip
    records, bad = read(root, include=["*.py"])
    assert not bad
    assert {path: (record.license, record.meta["license_from"]) for path, record in records.items()} == {
        "p/a.py": ("CC0-1.0", "p/REUSE.toml"), "p/data/x/b.py": ("CC0-1.0", "p/REUSE.toml"), "p/data/c.py": ("MIT", "SPDX tag"), "p/over/d.py": ("ISC", "p/REUSE.toml"), "p/over/in/e.py": ("MIT", "SPDX tag"),
        "p/both/f.py": ("MIT AND (ISC AND Zlib)", "SPDX tag, p/REUSE.toml"), "p/odd.py": ("LicenseRef-unknown", "p/REUSE.toml"), "p/g.py": ("BSD-2-Clause", "p/g.py.license"),
        "p/none.py": ("ISC AND MIT", "p/LICENSES/ISC.txt, p/LICENSES/MIT.txt"), "q/h.py": ("ISC", "q/.reuse/dep5"), "q/sub/deep/i.py": ("Zlib", "q/.reuse/dep5"),
    }  # fmt: skip


def test_a_changed_side_file_changes_its_own_files_fingerprint_alone(tmp_path: Path) -> None:
    tree(tmp_path, {"a.py": "x", "a.py.license": "SPDX-License-Identifier: MIT\n", "b.py": "y"})
    before = {file.relative: file.fingerprint for file in list_files(source(tmp_path, include=["*.py"]), Path("/"))}
    tree(tmp_path, {"a.py.license": "SPDX-License-Identifier: ISC  \n"})
    after = {file.relative: file.fingerprint for file in list_files(source(tmp_path, include=["*.py"]), Path("/"))}
    assert {name for name in before if before[name] != after[name]} == {"a.py"}


@given(st.text(alphabet="ab/*\\", max_size=8), st.text(alphabet="ab/", max_size=8), st.booleans())
def test_patterns_of_paths_are_those_of_regular_expressions(pattern: str, path: str, crosses: bool) -> None:
    """The REUSE specification's words for its globs, as a regular expression."""
    tokens = re.findall(r"\\.|\*\*|\*|.", pattern)
    wanted = "".join(
        re.escape(token[1:]) if token[0] == "\\" and len(token) == 2 else ".*" if token == "**" or (token == "*" and crosses) else "[^/]*" if token == "*" else re.escape(token)
        for token in tokens
    )  # fmt: skip
    assert is_of(pattern, path, crosses=crosses) is bool(re.fullmatch(wanted, path))


# --- .gitattributes ------------------------------------------------------------------------------------------------------

PATTERN = st.text(alphabet="ab*?/.", min_size=1, max_size=7).filter(lambda text: not text.startswith(("!", "#")) and "//" not in text)
FILE = st.text(alphabet="ab./", min_size=1, max_size=7).filter(lambda text: all(part.strip(".") for part in text.split("/")))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(PATTERN, st.sampled_from(["linguist-vendored", "-linguist-vendored", "!linguist-vendored", "linguist-vendored=false"])), max_size=6), st.lists(FILE, min_size=8, max_size=12, unique=True))  # fmt: skip
def test_patterns_of_attributes_are_gits(tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str]], paths: list[str]) -> None:
    root = tmp_path_factory.mktemp("attributes")
    text = "".join(f"{pattern} {value}\n" for pattern, value in lines)
    tree(root, {".gitattributes": text})
    git(root, "init", "-q")
    told = dict(line.rsplit(": linguist-vendored: ", 1) for line in git(root, "check-attr", "linguist-vendored", "--", *paths).splitlines())
    ours = AttributeFiles([(".gitattributes", text)])
    meaning = {"unspecified": None, "set": True, "unset": False, "false": False}
    assert {path: ours.of(path).vendored for path in paths} == {path: meaning[told[path]] for path in paths}


ATTRIBUTES = "*.gen.py linguist-generated\nlib/** linguist-vendored=true\nvendor/ours.py -linguist-vendored\ndocs/* linguist-documentation\n*.inc linguist-language=PHP\n*.blob binary\n*.py -text\n"


@pytest.mark.parametrize("kind", ["folder", "git"])
def test_attributes_count_before_what_is_found(tmp_path: Path, kind: str) -> None:
    files: dict[str, str | bytes] = {
        ".gitattributes": ATTRIBUTES, "a.gen.py": "x = 1\n", "lib/b.py": "x = 2\n", "vendor/ours.py": "x = 3\n", "vendor/theirs.py": "x = 4\n", "docs/c.py": "x = 5\n", "d.inc": "x\n", "e.blob": "x\n", "sub/.gitattributes": "*.gen.py -linguist-generated\n", "sub/f.gen.py": "x = 6\n",
    }  # fmt: skip
    root = repository(tmp_path / "p", files) if kind == "git" else tree(tmp_path / "p", files)
    found, bad = read(root if kind == "git" else tmp_path)
    assert not bad
    records = {path.removeprefix("p/"): record for path, record in found.items()}
    marks = {
        path: {name: record.meta[name] for name in ("generated", "vendored", "documentation") if name in record.meta}
        for path, record in records.items()
        if not path.endswith(".gitattributes")
    }
    assert marks == {
        "a.gen.py": {"generated": ".gitattributes"}, "lib/b.py": {"vendored": ".gitattributes"}, "vendor/ours.py": {}, "vendor/theirs.py": {"vendored": "vendor folder"},
        "docs/c.py": {"documentation": ".gitattributes"}, "d.inc": {}, "sub/f.gen.py": {},
    }  # fmt: skip
    assert records["d.inc"].language == "PHP"
    assert passed(root if kind == "git" else tmp_path) == {"binary files: .blob": 1}


# --- languages, and what is passed over ----------------------------------------------------------------------------------


def test_every_language_of_linguist_that_has_an_ending_of_its_own_is_known_by_it() -> None:
    listed = rows("linguist-languages.tsv")
    assert len(listed) > 800
    shared = Counter(ending for _, _, endings, *_ in listed for ending in set(endings.split()))
    ours = {
        ending
        for row in (*rows("language-endings.tsv"), *rows("language-of-shared-endings.tsv"))
        for ending in (row[1] if len(row) == 2 else row[0]).split()
    }
    for name, _, endings, *_ in listed:
        for ending in endings.split():
            if ending != "-" and shared[ending] == 1 and ending not in ours and "." not in ending:
                assert languages.language_of(f"a.{ending}") == name
    assert languages.KNOWN["fish"] == "fish"
    assert languages.KNOWN["wolfram language"] == "Mathematica"  # a name that nothing has, told by the name that something has


def test_files_of_no_language_and_binary_ones_are_counted_by_their_endings(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "LICENSE": MIT,
        "a.py": "x = 1\n",
        "b.zork": "words\n",
        "c.zork": "words\n",
        "d.png": b"\x89PNG\0",
        "e.py": b"x\0y",
        "noend": "words\n",
        "f.zork": b"\xff\xfe\xfd",
    }
    found = {
        "files of no known language: .zork": 3,
        "binary files: .png": 1,
        "binary files: .py": 1,
        "files of no known language: no ending": 1,
    }
    assert passed(tree(tmp_path / "folder", files)) == found
    assert passed(tree(tmp_path / "folder", files), join="repository") == found
    root = repository(tmp_path / "git", files)
    (root / "link.py").symlink_to("a.py")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "two")
    assert passed(root) == found | {"links": 1}
    chosen = source(root)
    assert all(isinstance(item, Record | PassedOver) for file in list_files(chosen, Path("/")) for item in read_file(file, chosen))


# --- generated and vendored ----------------------------------------------------------------------------------------------

LICENSE_HEAD = (
    '/*\n * Copyright 2020 Somebody\n *\n * Licensed under the Apache License, Version 2.0 (the "License");\n'
    + " * words of the licence\n" * 12
    + " */\n"
)


def test_a_generator_is_told_past_a_licence() -> None:
    assert generated("a.java", f"{LICENSE_HEAD}// This file was generated by a tool.\nclass A {{}}\n") is not None
    assert generated("a.java", f"{LICENSE_HEAD}package a;\n\nclass A {{\n  int x;\n  int y;\n  int z;\n  // DO NOT EDIT.\n}}\n") is None
    hashes = "".join(f"# {line}\n" for line in ("Copyright 2020", "Licensed under terms", "a", "b", "c", "See the License."))
    assert generated("a.py", f"{hashes}\n# Auto-generated, do not edit!\nx = 1\n") is not None


@pytest.mark.parametrize(
    ("path", "is_one"),
    [("types/a.d.ts", True), ("src/cmd.ts", False), ("docs/_static/x.css", True), ("Packages/A.1.2.0/x.cs", True), ("test/fixtures/a.py", True), ("test/a.py", False), (".github/workflows/a.yml", True),
     ("vignettes/a.R", True), ("Vagrantfile", True), ("lib/Third-Party/x.c", True), ("a/testdata/x.go", True), (".yarn/releases/a.js", True), ("src/angular_component.ts", False)],
)  # fmt: skip
def test_vendored_as_linguists_list_has_it(path: str, is_one: bool) -> None:
    assert (vendored(path) is not None) is is_one
