"""Source code: languages, licences, generated files, notebooks, git repositories, joined repositories."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filters import licenses as filter_licenses
from pipeline.filters.licenses import PERMISSIVE, is_allowed
from pipeline.readers import (
    Record,
    SourceConfig,
    Unreadable,
    code_inputs,
    generated,
    joined,
    languages,
    license_expressions,
    licenses,
    list_files,
    notebooks,
    package_metadata,
    read_file,
    repositories,
    source_config,
)
from pipeline.readers.languages import by_content, language_of
from pipeline.workdir.errors import UserError
from tests.profiles import share
from tests.work import in_proportion


def source(path: Path | str, **settings: Any) -> SourceConfig:
    return source_config(name="test", domain="code", format="code", path=str(path), **settings)


def read(path: Path | str, **settings: Any) -> tuple[dict[str, Record], list[Unreadable]]:
    config = source(path, **settings)
    items = [item for file in list_files(config, Path("/")) for item in read_file(file, config)]
    records = [item for item in items if isinstance(item, Record)]
    assert len({record.id for record in records}) == len(records), "ids are unique"
    return {record.path or record.id: record for record in records}, [item for item in items if isinstance(item, Unreadable)]


def tree(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def git(folder: Path, *arguments: str) -> str:
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
        "HOME": str(folder),
    }
    dates = {"GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z"}
    result = subprocess.run(
        ["git", "-C", str(folder), *arguments], env={**os.environ, **identity, **dates}, capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def repository(root: Path, files: Mapping[str, str | bytes], *, sha256: bool = False) -> Path:
    tree(root, files)
    git(root, "init", "-q", "-b", "main", *(["--object-format=sha256"] if sha256 else []))
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "one")
    return root


# Published texts of licences, by what they are made of: the MIT licence is short enough to stand here (its text is its own permission).
MIT = """MIT License

Copyright (c) 2020 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
APACHE = (Path(__file__).parents[3] / "LICENSE").read_text()  # ours


# --- languages -----------------------------------------------------------------------------------------------------------

NAMED = {
    ("a/Makefile", ""): "Makefile", ("Dockerfile.dev", ""): "Dockerfile", ("CMakeLists.txt", ""): "CMake", ("x.tar/setup.cfg", ""): "INI", ("go.mod", ""): "Go Module",
    ("a.PY", ""): "Python", ("x.d.ts", ""): "TypeScript", ("config.h.in", "int x;\n"): "C", ("none.xyz", "x"): None, ("a.png", ""): None, (".bashrc", ""): "Shell",
    ("run", "#!/usr/bin/env python3.11\nprint(1)\n"): "Python", ("run", "#!/bin/sh\nexec wish \"$0\" \"$@\"\n"): "Tcl", ("run", "#!/usr/bin/env -S node --flag\n"): "JavaScript",
    ("run", "#!/bin/bash -e\n"): "Shell", ("a.inc", "<?php echo 1;"): "PHP", ("a.txt", "# -*- mode: ruby -*-\n"): "Ruby", ("a.x", "/* vim: set ft=cpp: */\n"): "C++",
    ("x", "#!/usr/bin/perl -w\n"): "Perl", ("README", "hello"): "Text", ("a.pl", ":- module(x, [y/1]).\ny(1).\n"): "Prolog", ("a.pl", "use strict;\nmy $x = 1;\n"): "Perl",
    ("a.h", "@interface Foo : NSObject\n@end\n"): "Objective-C", ("a.h", "namespace foo {\nclass A;\n}\n"): "C++", ("a.h", "#include <stdio.h>\nint f(void);\n"): "C",
    ("a.m", "#import <Foundation/Foundation.h>\n@implementation A\n@end\n"): "Objective-C", ("a.m", "% comment\nfunction y = f(x)\ny = x;\nend\n"): "MATLAB",
    ("a.ts", '<?xml version="1.0"?><!DOCTYPE TS><TS></TS>'): "XML", ("a.ts", "const x: number = 1;\n"): "TypeScript", ("a.v", "Require Import List.\nProof.\nQed.\n"): "Rocq Prover",
    ("a.v", "module top(input a);\nendmodule\n"): "Verilog", ("a.r", "x <- c(1, 2)\n"): "R", ("a.pro", "QT += core\nSOURCES += a.cpp\n"): "QMake", ("a.pro", "pro f, x\nend\n"): "IDL",
    ("a.fs", "let x = 1\n"): "F#", ("a.fs", "#version 330\nvoid main() {}\n"): "GLSL", ("a.cls", "\\ProvidesClass{x}\n"): "TeX", ("ls.1", ".TH LS 1\n"): "Roff", ("notes.1", "hello\n"): None,
    ("a.md", "(define_insn \"x\")\n"): "GCC Machine Description", ("a.md", "# Title\n"): "Markdown", ("a.pp", "class x {\n  file { 'a': ensure => present }\n}\n"): "Puppet", ("a.php", "<?hh\n"): "Hack",
    ("a.inc", "#include <vector>\nstd::vector<int> x;\n"): "C++", ("a.sql", "SELECT 1;"): "SQL", ("a.cl", "__kernel void f(__global int *a) {}\n"): "OpenCL", ("a.cl", "(defun f (x) x)\n"): "Common Lisp",
    ("a.spec", "Name: x\nVersion: 1\n%prep\n"): "RPM Spec", ("a.d", "module a.b;\nimport std.stdio;\n"): "D", ("a.d", "a.o: a.c a.h\n"): "Makefile",
}  # fmt: skip


@pytest.mark.parametrize(("given_", "expected"), NAMED.items(), ids=lambda value: str(value)[:40])
def test_languages_by_name_first_line_and_content(given_: tuple[str, str], expected: str | None) -> None:
    assert language_of(*given_) == expected


def test_every_table_says_where_its_facts_are_from_and_its_columns_are_whole() -> None:
    folders = [Path(module.__file__ or "").parent / "data" for module in (languages, filter_licenses)]
    tables = [path for folder in folders for path in folder.glob("*.tsv")]
    assert len(tables) > 8
    for path in tables:
        lines = path.read_text(encoding="utf-8").splitlines()
        head = [line for line in lines if line.startswith("# ")]
        assert lines[: len(head)] == head, f"{path.name}: what says where its facts are from stands first"
        assert any("Source: " in line for line in head), path.name
        assert all(line and line == line.strip() for line in lines), f"{path.name}: editors may strip what looks empty"


def test_endings_agree_with_pygments_where_it_knows_the_language_by_the_same_name() -> None:
    from pygments.lexers import get_all_lexers

    ours = {name.lower(): name for name in languages._ENDINGS}
    theirs: dict[str, set[str]] = {}
    for name, aliases, patterns, _ in get_all_lexers():
        for alias in (name.lower(), *aliases):
            theirs.setdefault(alias, set()).update(
                pattern[2:].lower() for pattern in patterns if pattern.startswith("*.") and "*" not in pattern[2:]
            )
    compared = 0
    for lower, language in ours.items():
        endings = set(languages._ENDINGS[language].split())
        if theirs.get(lower) and language not in (
            "Dockerfile",
            "Forth",
            "Fortran",
            "HTML+Django",
            "HTML+ERB",
            "Starlark",
        ):  # other endings there
            compared += 1
            assert endings & theirs[lower], language
    assert compared > 100


@pytest.mark.slow
def test_real_files_have_their_language_with_and_without_a_name(real_data: Path) -> None:
    with (real_data / "code" / "multi-language.jsonl.zst").open("rb") as raw:
        rows = [json.loads(line) for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw), encoding="utf-8")]
    names = {"c": "C", "cpp": "C++", "rst": "reStructuredText", "javascript": "JavaScript", "typescript": "TypeScript"}
    named = Counter(language_of(row["path"], row["text"]) == names.get(row["lang"], row["lang"].title()) for row in rows)
    bare = Counter(by_content(row["text"]) == names.get(row["lang"], row["lang"].title()) for row in rows[::10])
    assert named[True] / len(rows) > 0.998  # the rest are headers of C++ projects that any C compiler takes
    assert bare[True] / len(rows[::10]) > 0.9


@pytest.mark.parametrize("hostile", ["<" * 40_000, " " * 40_000, "a" * 40_000, "\n" * 40_000, "a " * 20_000, "(* " * 15_000, "a::" * 15_000, "\"\\" * 20_000, "#" * 40_000, "/*" * 20_000, "a(" * 20_000, "; \n" * 13_000, "-*-" * 13_000, "vim:" * 10_000, "def f(" * 7000, "\t" * 40_000 + "x", "a.b," * 10_000, "{" * 40_000, "<!--" * 10_000, "[a](" * 10_000])  # fmt: skip
def test_hostile_text_takes_steps_in_proportion(hostile: str) -> None:
    def tell(text: str) -> None:
        by_content(text)
        for ending in languages._AMBIGUOUS:
            language_of(f"a.{ending}", text)

    def look(text: str) -> None:
        language_of("a.h", text)
        generated.generated("a.js", text)
        licenses.tag_of(text)
        joined.order(
            [
                joined.File("a.py", "Python", text),
                joined.File("b.js", "JavaScript", text),
                joined.File("c.go", "Go", text),
                joined.File("d.php", "PHP", text),
            ]
        )

    in_proportion(tell, hostile)
    in_proportion(look, hostile * (1_000_000 // len(hostile)))


# --- licences ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("mit", "MIT"), ("MIT/Apache-2.0", "MIT OR Apache-2.0"), ("GPL-2.0+", "GPL-2.0-or-later"), ("GPL-3.0", "GPL-3.0-only"), ("(MIT AND bsd-3-clause)", "MIT AND BSD-3-Clause"),
        ("Apache-2.0 WITH LLVM-exception", "Apache-2.0 WITH LLVM-exception"), ("BSD License", "BSD-3-Clause"), ("all rights reserved", None), ("", None), ("((((", None), ("LicenseRef-own", "LicenseRef-own"),
    ],
)  # fmt: skip
def test_licence_expressions_are_normalised(written: str, expected: str | None) -> None:
    assert license_expressions.normalise(written) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("// SPDX-License-Identifier: MIT\n", "MIT"), ("/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */\n", "GPL-2.0-only OR BSD-3-Clause"),
        ("<!-- SPDX-License-Identifier: CC0-1.0 -->", "CC0-1.0"), ("# SPDX-License-Identifier: (MIT OR Apache-2.0)\n# SPDX-License-Identifier: ISC", "(MIT OR Apache-2.0) AND ISC"), ("x" * 9000 + "SPDX-License-Identifier: MIT", None),
    ],
)  # fmt: skip
def test_spdx_tags(text: str, expected: str | None) -> None:
    assert licenses.tag_of(text) == expected


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("LICENSE", True), ("LICENCE.md", True), ("COPYING.LESSER", True), ("license-mit", True), ("LICENSE-2.0.txt", True), ("UNLICENSE", True), ("LICENSE.APACHE", True), ("license.py", False), ("licenses.html", False),
     ("LICENSE-3RD-PARTY", False), ("LICENSE_bundled.txt", False), ("licensing.md", False), ("copyright.rst", False), ("NOTICE", False), ("License.java", False), ("MIT-LICENSE.txt", True)],
)  # fmt: skip
def test_licence_files_by_name(name: str, is_one: bool) -> None:
    assert licenses.is_license_file(f"a/{name}") is is_one


METADATA = {
    "PKG-INFO": "Metadata-Version: 2.4\nName: x\nLicense-Expression: MIT AND ISC\n\nbody\nLicense-Expression: GPL-3.0",
    "METADATA": "Name: x\nLicense: BSD\nClassifier: License :: OSI Approved :: MIT License\n",
    "package.json": '{"license": "(MIT OR Apache-2.0)"}', "Cargo.toml": '[package]\nname = "x"\nlicense = "MIT/Apache-2.0"\n',
    "pyproject.toml": '[project]\nname = "x"\nlicense = {text = "Apache 2.0"}\n', "setup.cfg": "[metadata]\nlicense = ISC\n",
    "pom.xml": "<project><licenses><license><name>Apache License, Version 2.0</name></license></licenses></project>",
    "composer.json": '{"license": ["MIT", "GPL-2.0-or-later"]}', "DESCRIPTION": "Package: x\nLicense: MIT + file LICENSE\n",
}  # fmt: skip
DECLARED = [
    "MIT AND ISC",
    "BSD-3-Clause",
    "MIT OR Apache-2.0",
    "MIT OR Apache-2.0",
    "Apache-2.0",
    "ISC",
    "Apache-2.0",
    "MIT OR GPL-2.0-or-later",
    "MIT",
]


@pytest.mark.parametrize(("name", "expected"), list(zip(METADATA, DECLARED, strict=True)))
def test_licences_that_package_metadata_declares(name: str, expected: str) -> None:
    assert package_metadata.license_of_metadata(name, METADATA[name]) == expected
    assert package_metadata.license_of_metadata(name, "{" * 100_000) is None
    assert package_metadata.license_of_metadata(name, "\0\n[") is None


def test_tag_before_nearest_directory_before_package_before_source(tmp_path: Path) -> None:
    root = tree(tmp_path, {
        "p/LICENSE": MIT, "p/package.json": '{"license": "ISC"}', "p/a.js": "x = 1", "p/sub/LICENSE": APACHE, "p/sub/deep/b.js": "x = 2", "p/c.js": "// SPDX-License-Identifier: BSD-2-Clause\n",
        "q/package.json": '{"license": "ISC"}', "q/d.js": "x = 3", "r/e.js": "x = 4",
    })  # fmt: skip
    records, bad = read(root, include=["*.js"], license="CC0-1.0")
    assert not bad
    assert {path: (record.license, record.meta["license_from"]) for path, record in records.items()} == {
        "p/a.js": ("MIT", "p/LICENSE"), "p/sub/deep/b.js": ("Apache-2.0", "p/sub/LICENSE"), "p/c.js": ("BSD-2-Clause", "SPDX tag"),
        "q/d.js": ("ISC", "q/package.json"), "r/e.js": ("CC0-1.0", "source"),
    }  # fmt: skip


def test_licence_files_side_by_side_are_alternatives_by_their_names_else_all_apply() -> None:
    assert licenses.of_directories([("p/LICENSE-MIT", MIT), ("p/LICENSE-APACHE", APACHE)])["p"].expression == "Apache-2.0 OR MIT"
    assert licenses.of_directories([("p/LICENSE", MIT), ("p/COPYING", APACHE)])["p"].expression == "Apache-2.0 AND MIT"
    assert licenses.of_directories([("p/LICENSE", MIT + "\n\n" + APACHE)])["p"].expression == "MIT AND Apache-2.0"
    bundled = [("p/LICENSE", MIT + "\n\n" + APACHE), ("p/PKG-INFO", "License-Expression: MIT\n")]
    assert licenses.of_directories(bundled)["p"].expression == "MIT"
    assert licenses.of_directories([("p/LICENSE", "no licence at all")]) == {}


def test_distributions_side_by_side_speak_for_their_own_folders(tmp_path: Path) -> None:
    root = tree(tmp_path, {
        "one/a.py": "x = 1", "one-1.0.dist-info/licenses/LICENSE": MIT, "two/b.py": "x = 2", "two-2.0.dist-info/METADATA": "Name: two\nLicense: ISC\n", "three.py": "x = 3",
    })  # fmt: skip
    records, _ = read(root, include=["*.py"])
    assert {path: record.license for path, record in records.items()} == {"one/a.py": "MIT", "two/b.py": "ISC", "three.py": None}


def test_a_changed_licence_changes_the_fingerprint_of_the_files_below_it(tmp_path: Path) -> None:
    tree(tmp_path, {"p/LICENSE": MIT, "p/a.py": "x = 1", "q/b.py": "x = 2"})
    before = {file.relative: file.fingerprint for file in list_files(source(tmp_path, include=["*.py"]), Path("/"))}
    tree(tmp_path, {"p/LICENSE": APACHE})
    after = {file.relative: file.fingerprint for file in list_files(source(tmp_path, include=["*.py"]), Path("/"))}
    assert before["p/a.py"] != after["p/a.py"]
    assert before["q/b.py"] == after["q/b.py"]


@pytest.mark.slow
def test_installed_distributions_texts_agree_with_what_they_declare() -> None:
    """Of the distributions in this Python, those that declare one licence and ship one recognised text agree nearly always."""
    import importlib.metadata

    agree = total = 0
    for distribution in importlib.metadata.distributions():
        files = distribution.files or []
        texts = [
            (str(file), Path(str(distribution.locate_file(file))).read_text(errors="replace"))
            for file in files
            if licenses.is_license_file(str(file)) and ".dist-info" in str(file)
        ]
        declared = package_metadata.license_of_metadata("METADATA", distribution.read_text("METADATA") or "")
        found = licenses.of_directories(texts).get("")
        if declared and found and " " not in declared and " " not in found.expression:
            total += 1
            agree += declared == found.expression
    assert total >= 30
    assert agree / total > 0.9


def test_permission_follows_the_expression() -> None:
    assert len(PERMISSIVE) == len(set(PERMISSIVE)) > 200
    assert is_allowed("MIT")
    assert is_allowed("GPL-2.0-only OR BSD-3-Clause")
    assert not is_allowed("GPL-2.0-only AND BSD-3-Clause")
    assert is_allowed("Apache-2.0 WITH LLVM-exception AND (MIT OR GPL-3.0-only)")
    assert not is_allowed("GPL-2.0-only WITH Classpath-exception-2.0")
    assert not is_allowed(None)
    assert not is_allowed("((")
    assert is_allowed("GPL-3.0-only", ("GPL-3.0-only",))


# --- generated and vendored ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("a/package-lock.json", "{}", "lock file"), ("Cargo.lock", "", "lock file"), ("a/b_pb2.py", "", "protocol buffers"), ("a.js", "x" * 500, "minified"), ("a.min.js", "x", "minified"), ("a.css.map", "{}", "source map"),
        ("a.go", "// Code generated by stringer; DO NOT EDIT.\npackage a\n", "Go code generator"), ("a.c", "/* Generated by Cython 3.0 */\n", "Cython"), ("y.tab.c", "/* A Bison parser, made by GNU Bison 3.8.  */\n", "Bison"),
        ("lex.c", "\n#define FLEX_SCANNER\n", "flex"), ("configure", "#! /bin/sh\n# Generated by GNU Autoconf 2.71.\n", "Autoconf"), ("a.py", "# Autogenerated by Thrift Compiler (0.9)\n", "Thrift"), ("a.js", "x\n//# sourceMappingURL=a.js.map\n", "source map reference"),
        ("a.cs", "// <auto-generated>\n", "says so: auto-generated"), ("a.rs", "// @generated\n", "says so: @generated"), ("a.java", "/* The following code was generated by JFlex */\n", "JFlex"), ("index.html", '<html>\n<meta name="generator" content="Doxygen 1.9"/>\n', "documentation generator"),
        ("a.py", "x = 1\n", None), ("a.py", "# Do not edit wars; this explains how files are generated.\n", None), ("doc.py", "\n" * 50 + "# DO NOT EDIT\n", None), ("editor.py", '"""An editor that generates code."""\n', None),
        ("generated.py", "x = 1\n", None), ("a.json", '{"a": "' + "x" * 500 + '"}', None),
    ],
)  # fmt: skip
def test_generated_files_and_their_reason(path: str, text: str, reason: str | None) -> None:
    assert generated.generated(path, text) == reason


@pytest.mark.parametrize(
    ("path", "is_one"),
    [("vendor/a.go", True), ("src/third_party/x.c", True), ("node_modules/a/i.js", True), ("js/jquery-3.5.1.js", True), ("static/bootstrap.bundle.min.js", True), ("configure", True), ("lib/vendors.py", False), ("src/react_component.js", False),
     ("inventory/vendoring.py", False), ("src/external.c", False), ("a/external/b.c", True), ("src/jquery_plugin/own.js", False), ("debian/rules", False), ("include/catch.hpp", True)],
)  # fmt: skip
def test_vendored_files(path: str, is_one: bool) -> None:
    assert (generated.vendored(path) is not None) is is_one


# --- git -----------------------------------------------------------------------------------------------------------------

FILES: dict[str, str | bytes] = {
    "LICENSE": MIT, "a.py": "import b\n", "src/b.py": "x = 1\n", "data.bin": b"\0\1\2", "bad.py": b"x = '\xff'\n", "späce name.py": "y = 2\n", "vendor/c.js": "z", "n.ipynb": '{"cells": [{"cell_type": "code", "source": "1"}]}',
}  # fmt: skip


@pytest.mark.parametrize("sha256", [False, True])
@pytest.mark.parametrize("kind", ["tree", "bare", "packed", "bundle", "folder"])
def test_a_git_repository_is_read_from_its_objects(tmp_path: Path, kind: str, sha256: bool) -> None:
    root = repository(tmp_path / "all" / "project", FILES, sha256=sha256)
    commit = git(root, "rev-parse", "HEAD")
    (root / "a.py").write_text("changed, and not committed")
    (root / "new.py").write_text("not committed")
    if kind == "packed":
        git(root, "gc", "-q")
    path = {"tree": root, "packed": root, "folder": root.parent, "bare": tmp_path / "project.git", "bundle": tmp_path / "project.bundle"}[
        kind
    ]
    if kind == "bare":
        git(root, "clone", "-q", "--bare", "--no-local", ".", str(path))
    if kind == "bundle":
        git(root, "bundle", "create", "-q", str(path), "--all")
    records, bad = read(path)
    assert set(records) == {"LICENSE", "a.py", "src/b.py", "späce name.py", "vendor/c.js", "n.ipynb"}
    assert records["a.py"].text == "import b\n"
    assert records["a.py"].meta == {"repository": "project", "size": 9, "revision": commit, "license_from": "LICENSE"}
    assert records["a.py"].license == "MIT"
    assert records["vendor/c.js"].meta["vendored"] == "vendor folder"
    assert [(item.location.split("!")[1], item.error.split(":")[0]) for item in bad] == [("bad.py (byte 5)", "not UTF-8")]
    assert not any(".git" in record.id.split("!")[1] for record in records.values())


def test_a_revision_is_a_branch_a_tag_or_a_commit(tmp_path: Path) -> None:
    root = repository(tmp_path / "p", {"a.py": "one"})
    first = git(root, "rev-parse", "HEAD")
    git(root, "tag", "-a", "v1", "-m", "x")
    git(root, "checkout", "-q", "-b", "feature/x")
    (root / "a.py").write_text("two")
    git(root, "commit", "-q", "-a", "-m", "two")
    git(root, "pack-refs", "--all")
    for revision, text in [
        (None, "two"),
        ("main", "one"),
        ("v1", "one"),
        ("feature/x", "two"),
        ("refs/tags/v1", "one"),
        (first, "one"),
        (first[:8], "one"),
        ("HEAD~1", "one"),
    ]:
        assert read(root, revision=revision)[0]["a.py"].text == text
    _, (bad,) = read(root, revision="nowhere")
    assert "no such revision" in bad.error
    _, (bad,) = read(root, revision="--upload-pack=x")
    assert "no such revision" in bad.error


def test_the_input_of_a_repository_changes_with_its_commit_and_not_with_its_working_tree(tmp_path: Path) -> None:
    root = repository(tmp_path / "p", {"a.py": "one"})
    (before,) = list_files(source(tmp_path), Path("/"))
    (root / "a.py").write_text("two")
    (same,) = list_files(source(tmp_path), Path("/"))
    git(root, "commit", "-q", "-a", "-m", "two")
    (after,) = list_files(source(tmp_path), Path("/"))
    assert before.fingerprint == same.fingerprint != after.fingerprint
    assert before.relative == "p"


def test_a_hostile_repository_runs_nothing(tmp_path: Path) -> None:
    root = repository(tmp_path / "p", {"a.py": "one", ".gitattributes": "*.py filter=evil diff=evil\n", "sub/x": ""})
    marker = tmp_path / "ran"
    script = tree(tmp_path, {"evil.sh": f"#!/bin/sh\ntouch {marker}\n"}) / "evil.sh"
    script.chmod(0o755)
    for hook in ("post-checkout", "pre-commit", "reference-transaction", "fsmonitor-watchman", "post-index-change"):
        (root / ".git" / "hooks" / hook).parent.mkdir(exist_ok=True)
        (root / ".git" / "hooks" / hook).write_bytes(script.read_bytes())
        (root / ".git" / "hooks" / hook).chmod(0o755)
    with (root / ".git" / "config").open("a") as config:
        config.write(
            f"[core]\n\tfsmonitor = {script}\n\tsshCommand = {script}\n\tpager = {script}\n\tgitProxy = {script}\n\thooksPath = {root}/.git/hooks\n\taskPass = {script}\n\talternateRefsCommand = {script}\n"
            f'[filter "evil"]\n\tclean = {script}\n\tsmudge = {script}\n\tprocess = {script}\n[diff]\n\texternal = {script}\n[alias]\n\tls-tree = !{script}\n\tcat-file = !{script}\n'
            f'[uploadpack]\n\tpackObjectsHook = {script}\n[remote "origin"]\n\turl = ext::{script}\n\tpromisor = true\n\tpartialclonefilter = blob:none\n[extensions]\n\tpartialClone = origin\n[protocol]\n\tallow = always\n'
        )
    blob = git(tmp_path, "hash-object", str(root / "a.py"))
    (root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()  # a promised object: git would fetch it
    records, bad = read(root)
    assert set(records) == {".gitattributes"}
    assert [(item.location, item.error) for item in bad] == [("p!a.py", "RepositoryError: missing object")]
    assert not marker.exists()


def test_links_and_submodules_are_passed_over_and_borrowed_objects_refused(tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner", {"i.py": "x"})
    root = tree(tmp_path / "p", {"a.py": "one"})
    (root / "link.py").symlink_to("/etc/passwd")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "update-index", "--add", "--cacheinfo", f"160000,{git(inner, 'rev-parse', 'HEAD')},sub")
    git(root, "commit", "-q", "-m", "one")
    assert set(read(root)[0]) == {"a.py"}
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--shared", str(root), str(clone))
    records, (bad,) = read(clone)
    assert not records
    assert "borrows objects" in bad.error


def test_a_damaged_object_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    root = repository(tmp_path / "p", {f"f{number}.py": f"x = {number}\n" * 50 for number in range(20)})
    blob = git(root, "rev-parse", "HEAD:f7.py")
    path = root / ".git" / "objects" / blob[:2] / blob[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:20] + b"\xff" * 30)
    records, bad = read(root)
    assert len(records) == 19 or any("tree is damaged" in item.error for item in bad)
    assert bad
    assert all(item.location.startswith("p") for item in bad)


@pytest.mark.parametrize(
    "data", [b"", b"# v2 git bundle\n", b"not a bundle", b"# v2 git bundle\n" + b"a" * 40 + b" refs/heads/main\n\nPACK\0\0\0\2\0\0\0\1", b"# v3 git bundle\n@filter=blob:none\n\n", b"# v2 git bundle\n-" + b"a" * 40 + b"\n\nPACK", b"# v2 git bundle\n" + b"x" * 100_000]
)  # fmt: skip
def test_a_broken_bundle_is_quarantined(tmp_path: Path, data: bytes) -> None:
    tree(tmp_path, {"x.bundle": data})
    records, (bad,) = read(tmp_path)
    assert not records
    assert bad.location == "x.bundle"


@settings(max_examples=share(0.25))
@given(st.data())
def test_a_bundle_with_flipped_bytes_never_raises(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("flip")
    root = repository(folder / "p", {"a.py": "x = 1\n" * 20, "b/c.py": "y = 2\n"})
    git(root, "bundle", "create", "-q", str(folder / "p.bundle"), "--all")
    content = bytearray((folder / "p.bundle").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "p.bundle").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    read(folder / "p.bundle")


def test_a_tree_that_is_exponentially_large_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tree holds the one below ten times: a few objects, 10**10 files."""
    root = repository(tmp_path / "p", {"a.py": "x"})
    blob = git(root, "rev-parse", "HEAD:a.py")
    lines = "".join(f"100644 blob {blob}\tf{number}.py\n" for number in range(10))
    for _ in range(10):
        made = subprocess.run(["git", "-C", str(root), "mktree"], input=lines, capture_output=True, text=True, check=True).stdout.strip()
        lines = "".join(f"040000 tree {made}\td{number}\n" for number in range(10))
    commit = git(root, "commit-tree", made, "-m", "bomb")
    git(root, "update-ref", "refs/heads/main", commit)
    monkeypatch.setattr(repositories, "MAX_FILES", 5000)
    _, bad = read(root)  # 10**10 would never end
    assert "more than 5000 files" in bad[-1].error


def test_git_that_says_nothing_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = repository(tmp_path / "p", {"a.py": "x"})
    fake = tree(tmp_path / "bin", {"git": "#!/bin/sh\nexec sleep 1000000\n"})  # so that only its end ends the test
    (fake / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    monkeypatch.setattr(repositories, "STALL", 0.3)
    _, (bad,) = read(root)
    assert "said nothing" in bad.error
    monkeypatch.setenv("PATH", str(tmp_path))
    _, (bad,) = read(root)
    assert "git is not installed" in bad.error


# --- archives ------------------------------------------------------------------------------------------------------------


def test_an_archive_of_a_commit_knows_its_revision_and_has_no_git_folder(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, text in {
            "LICENSE": MIT,
            "a.py": "x = 1",
            ".git/config": "[core]",
            ".git/hooks/x.py": "evil",
            "logo.png": "\x89PNG",
        }.items():
            archive.writestr(f"proj-{commit}/{name}", text)
    records, bad = read(tmp_path / "x.zip")
    assert not bad
    record = records[f"proj-{commit}/a.py"]
    assert set(records) == {f"proj-{commit}/a.py", f"proj-{commit}/LICENSE"}
    assert (record.meta["repository"], record.meta["revision"], record.license) == ("proj", commit, "MIT")


def test_declared_charsets_are_followed_and_others_are_not_guessed(tmp_path: Path) -> None:
    tree(tmp_path, {"a.py": "# -*- coding: latin-1 -*-\nx = 'ä'\n".encode("latin-1"), "b.py": "#!/usr/bin/python\n# vim: set fileencoding=koi8-r :\nx = 'я'\n".encode("koi8-r"), "c.py": b"# coding: rot13\n\xff", "d.py": b"# coding: unicode_escape\n\xff"})  # fmt: skip
    records, bad = read(tmp_path)
    assert {path: record.text.split("'")[1] for path, record in records.items()} == {"a.py": "ä", "b.py": "я"}
    assert sorted(item.location.split(" ")[0] for item in bad) == ["c.py", "d.py"]


def test_nothing_there_is_the_users_error(tmp_path: Path) -> None:
    tree(tmp_path, {"a.py": "x"})
    with pytest.raises(UserError, match="none matches include"):
        list_files(source(tmp_path, include=["*.rs"]), Path("/"))


# --- notebooks -----------------------------------------------------------------------------------------------------------


def test_a_notebook_becomes_a_script_without_its_outputs(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "text"]},
        {"cell_type": "code", "source": "%matplotlib inline\nx = 1\n!ls", "outputs": [{"text": "SECRET OUTPUT"}]},
        {"cell_type": "code", "source": ""},
        {"cell_type": "raw", "source": "raw"},
    ]
    notebook = {"cells": cells, "metadata": {"kernelspec": {"language": "python", "name": "python3"}}, "nbformat": 4}
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": ["y <- 1"]}]}], "metadata": {"language_info": {"name": "R"}}}
    tree(tmp_path, {"a.ipynb": json.dumps(notebook), "b.ipynb": json.dumps(old), "c.ipynb": "{}", "d.ipynb": "[" * 100_000})
    records, bad = read(tmp_path)
    assert records["a.ipynb"].text == "# # Title\n#\n# text\n\n# %matplotlib inline\nx = 1\n# !ls\n\n# raw\n"
    assert (records["a.ipynb"].language, records["b.ipynb"].language) == ("Python", "R")
    assert records["b.ipynb"].text == "y <- 1\n"
    assert [item.location for item in bad] == ["c.ipynb", "d.ipynb"]
    with pytest.raises(UserError):
        list_files(source(tmp_path, include=["*.py"]), Path("/"))
    assert read(tmp_path, notebooks="drop", include=["a.ipynb"]) == ({}, [])


@pytest.mark.parametrize(
    ("cell", "script"),
    [
        ("%%bash\nls | grep a", "# %%bash\n# ls | grep a"),
        ("%%sql\nSELECT 1", "# %%sql\n# SELECT 1"),
        ("%%time\nx = 1", "# %%time\nx = 1"),
        (
            "if a:\n    !pip install b\n    files = !ls\n    t = %timeit -o f()",
            "if a:\n    # !pip install b\n    # files = !ls\n    # t = %timeit -o f()",
        ),
        ("df?\n?print\nnp.sum??\na if b else c", "# df?\n# ?print\n# np.sum??\na if b else c"),
        ("print('%d' %\n  5)\nx = (1\n% 2)", "print('%d' %\n  5)\nx = (1\n% 2)"),
        ('s = """\n% no magic\n! nor this\n"""\n%cd x', 's = """\n% no magic\n! nor this\n"""\n# %cd x'),
        ("x = 5 \\\n% 3\n!ls \\\n -l\ny = 1", "x = 5 \\\n% 3\n# !ls \\\n # -l\ny = 1"),
        ("a = 'it\\'s'  # don't (\n%pwd\nb = a != c", "a = 'it\\'s'  # don't (\n# %pwd\nb = a != c"),
    ],
)
def test_what_is_ipythons_own_becomes_a_comment(cell: str, script: str) -> None:
    notebook = {"cells": [{"cell_type": "code", "source": cell}], "metadata": {"kernelspec": {"language": "python"}}}
    assert notebooks.script(json.dumps(notebook)) == (script + "\n", "Python")


def test_lines_of_other_languages_are_no_magics() -> None:
    cell = "x %>%\n%in% y\n!z"
    notebook = {"cells": [{"cell_type": "code", "source": cell}], "metadata": {"kernelspec": {"name": "ir", "language": "R"}}}
    assert notebooks.script(json.dumps(notebook)) == (cell + "\n", "R")


@settings(max_examples=share(2))
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["cells", "source", "cell_type", "metadata", "worksheets", "language_info", "kernelspec", "name", "input"]), inner, max_size=5), max_leaves=30))  # fmt: skip
def test_any_json_is_a_notebook_or_a_value_error(value: Any) -> None:
    try:
        text, language = notebooks.script(json.dumps(value))
    except ValueError:
        return
    assert isinstance(text, str)
    assert language


# --- joined --------------------------------------------------------------------------------------------------------------


def paths(files: Mapping[str, tuple[str, str]]) -> list[str]:
    listed = [joined.File(path, language, text) for path, (language, text) in sorted(files.items())]
    return [listed[number].path for number in joined.order(listed)]


@pytest.mark.parametrize(
    ("language", "files", "expected"),
    [
        ("Python", {"p/a.py": "from .b import x\n", "p/b.py": "import p.c\n", "p/c.py": "", "p/__init__.py": "from . import a\n"}, ["p/c.py", "p/b.py", "p/a.py", "p/__init__.py"]),
        ("Python", {"x/a.py": "from ..y.b import q", "y/b.py": ""}, ["y/b.py", "x/a.py"]),
        ("TypeScript", {"a.ts": "import {x} from './lib/b';\n", "lib/b.ts": "export * from './c.js'\n", "lib/c.js": ""}, ["lib/c.js", "lib/b.ts", "a.ts"]),
        ("C", {"a.c": '#include "b.h"\n#include <stdio.h>\n', "inc/b.h": '# include "c.h"\n', "inc/c.h": ""}, ["inc/c.h", "inc/b.h", "a.c"]),
        ("Java", {"s/A.java": "import org.x.B;\n", "s/org/x/B.java": ""}, ["s/org/x/B.java", "s/A.java"]),
        ("Go", {"p/main.go": 'import (\n\t"fmt"\n\tx "example.org/p/util"\n)\n', "p/util/u.go": "", "p/util/v.go": ""}, ["p/util/u.go", "p/util/v.go", "p/main.go"]),
        ("Rust", {"src/lib.rs": "mod a;\nmod b;\n", "src/a.rs": "use crate::b::X;\n", "src/b/mod.rs": ""}, ["src/b/mod.rs", "src/a.rs", "src/lib.rs"]),
        ("Ruby", {"a.rb": "require_relative 'lib/b'\n", "lib/b.rb": ""}, ["lib/b.rb", "a.rb"]),
        ("Protocol Buffer", {"a.proto": 'import "x/b.proto";\n', "x/b.proto": ""}, ["x/b.proto", "a.proto"]),
        ("Python", {"a.py": "import b", "b.py": "import a", "c.py": "import a"}, ["a.py", "b.py", "c.py"]),
    ],
)  # fmt: skip
def test_imported_files_come_first_and_ties_and_cycles_by_path(language: str, files: dict[str, str], expected: list[str]) -> None:
    assert paths({path: (language, text) for path, text in files.items()}) == expected


@settings(max_examples=share(2))
@given(st.dictionaries(st.integers(0, 12), st.sets(st.integers(0, 12), max_size=5), max_size=13))
def test_the_order_holds_every_file_once_and_respects_every_import_that_lies_on_no_cycle(graph: dict[int, set[int]]) -> None:
    files = [
        joined.File(f"m{node:02}.py", "Python", "".join(f"import m{other:02}\n" for other in sorted(wanted)))
        for node, wanted in sorted(graph.items())
    ]
    order = joined.order(files)
    assert sorted(order) == list(range(len(files)))
    assert joined.order(files) == order

    def reaches(start: int, goal: int) -> bool:
        seen, stack = set(), [start]
        while stack:
            node = stack.pop()
            for other in graph.get(node, ()):
                if other == goal:
                    return True
                if other in graph and other not in seen:
                    seen.add(other)
                    stack.append(other)
        return False

    names = sorted(graph)
    place = {names[number]: position for position, number in enumerate(order)}
    acyclic = not any(reaches(node, node) for node in graph if node not in graph[node]) and not any(node in graph[node] for node in graph)
    if acyclic:
        assert all(place[other] < place[node] for node, wanted in graph.items() for other in wanted if other in graph and other != node)


def test_a_repository_is_joined_by_licence_within_the_bound_and_marked_files_stay_apart(tmp_path: Path) -> None:
    files = {
        "p/LICENSE": MIT,
        "p/a.py": "import b\n",
        "p/b.py": "x = 1\n",
        "p/c.py": "# SPDX-License-Identifier: ISC\n",
        "p/gen.py": "# @generated\n",
        "p/d.css": "a {}\n",
        "q/e.py": "y = 1\n",
        "top.py": "z = 1\n",
    }
    tree(tmp_path / "all", files)
    config = source(tmp_path / "all", join="repository", include=["*.py", "*.css"])
    items = [item for file in list_files(config, Path("/")) for item in read_file(file, config)]
    found = [
        (record.meta["repository"], record.license, record.meta.get("files", record.path), record.language)
        for record in items
        if isinstance(record, Record)
    ]
    assert found == [
        ("p", "MIT", "p/gen.py", "Python"), ("p", "ISC", ["p/c.py"], "Python"), ("p", "MIT", ["p/b.py", "p/a.py", "p/d.css"], "Python"),
        ("q", None, ["q/e.py"], "Python"), ("test", None, ["top.py"], "Python"),
    ]  # fmt: skip
    joined_text = next(record.text for record in items if isinstance(record, Record) and len(record.meta.get("files", ())) == 3)
    assert joined_text == "# p/b.py\nx = 1\n\n# p/a.py\nimport b\n\n/* p/d.css */\na {}\n"
    small, _ = read(tmp_path / "all", join="repository", include=["*.py", "*.css"], max_joined_bytes=25)
    assert sorted(small) == ["p/a.py", "p/b.py", "p/c.py", "p/d.css", "p/gen.py", "q/e.py", "top.py"]
    repository(tmp_path / "git", {name.removeprefix("p/"): text for name, text in files.items() if name.startswith("p/")})
    records, _ = read(tmp_path / "git", join="repository", include=["*.py"])
    assert records["b.py"].meta["files"] == ["b.py", "a.py"]


# --- anything at all -----------------------------------------------------------------------------------------------------

NAMES = st.one_of(
    st.sampled_from(["LICENSE", "COPYING", "a.py", "b.ipynb", "c.h", "package.json", "Cargo.toml", "PKG-INFO", "pom.xml", "setup.cfg", "x", "d.m", "e.js", "f.min.js", "pyproject.toml", "g.pl", "h.1"]),
    st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=8).filter(lambda name: name not in (".", "..") and "\\" not in name),
)  # fmt: skip
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CONTENTS = st.one_of(
    st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
    st.lists(st.sampled_from([b"SPDX-License-Identifier: ", b"MIT", b" AND ", b"(", b"\n", b"{", b"[", b'"license": ', b"License: ", b"#!/usr/bin/env ", b"-*- mode: ", b"-*-", b"import a\n", b"coding: latin-1\n", b"\xff", b"<?xml", b"%%", MIT.encode()]), max_size=12).map(b"".join),
)  # fmt: skip


@settings(max_examples=share(1.5))
@given(st.dictionaries(PATHS, CONTENTS, max_size=6), st.sampled_from(["file", "repository"]))
def test_any_files_in_an_archive_are_read_or_told_of_and_never_raise(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], join: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    with tarfile.open(folder / "a.tar", "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    config = source(folder, join=join)
    for file in list_files(config, Path("/")):
        first = list(read_file(file, config))
        assert [getattr(item, "text", None) for item in read_file(file, config)] == [getattr(item, "text", None) for item in first]
        for item in first:
            if isinstance(item, Record):
                json.dumps(item.meta)
                assert item.language


def test_options_of_a_source_are_checked() -> None:
    with pytest.raises(ValueError, match="join"):
        source("x", join="folder")
    assert code_inputs.BUNDLE == ".bundle"
