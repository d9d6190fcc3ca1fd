"""Licences from the heads of source files, and what is never taken for a permission."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filters.licenses import is_allowed
from pipeline.readers import licenses, package_metadata
from pipeline.readers.notices import HEAD, normal_form, notice_of
from tests.pipeline.readers.test_code import APACHE, MIT
from tests.work import in_proportion

# Notices as the stewards of the licences publish them ("How to apply these terms", the appendices, the exhibits).
GNU = "This program is free software{}: you can redistribute it and/or modify it under the terms of the GNU {}General Public License as published by the Free Software Foundation, either version {} of the License, or (at your option) any later version."
ONLY = "This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public License version 2 as published by the Free Software Foundation."
APACHE_NOTICE = 'Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with the License. You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0'
BSD = "Redistribution and use in source and binary forms, with or without modification, are permitted provided that the following conditions are met: 1. Redistributions of source code must retain the above copyright notice. 2. Redistributions in binary form must reproduce it."
THIRD = " 3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or promote products derived from this software."
TRI = "Version: MPL 1.1/GPL 2.0/LGPL 2.1. The contents of this file are subject to the Mozilla Public License Version 1.1. Alternatively, the contents of this file may be used under the terms of either the GNU General Public License Version 2 or later, or the GNU Lesser General Public License Version 2.1 or later."
NOTICES = {
    GNU.format("", "", 3): "GPL-3.0-or-later",
    GNU.format("", "Lesser ", "2.1"): "LGPL-2.1-or-later",
    GNU.format("", "Affero ", 3): "AGPL-3.0-or-later",
    ONLY: "GPL-2.0-only",
    "License: GPLv3+": "GPL-3.0-or-later",
    "Released under version 2 of the GNU GPL, no later one.": "GPL-2.0-only",
    APACHE_NOTICE: "Apache-2.0",
    "This Source Code Form is subject to the terms of the Mozilla Public License, v. 2.0. If a copy of the MPL was not distributed with this file, You can obtain one at https://mozilla.org/MPL/2.0/.": "MPL-2.0",
    "This program and the accompanying materials are made available under the terms of the Eclipse Public License v2.0": "EPL-2.0",
    "Distributed under the Boost Software License, Version 1.0. (See accompanying file LICENSE_1_0.txt)": "BSL-1.0",
    "Use of this source code is governed by an MIT-style license that can be found in the LICENSE file.": "MIT",
    BSD: "BSD-2-Clause",
    BSD + THIRD: "BSD-3-Clause",
    "This is free and unencumbered software released into the public domain.": "Unlicense",
    "Dual licensed under the MIT and GPL licenses.": "MIT OR GPL-1.0-or-later",
    "Licensed under either of Apache License, Version 2.0 or MIT license at your option.": "Apache-2.0 OR MIT",
    TRI: "MPL-1.1 OR GPL-2.0-or-later OR LGPL-2.1-or-later",
    "Licensed under CC BY-NC-SA 4.0": "CC-BY-NC-SA-4.0",
    "Copyright 2020 A. Proprietary and confidential. Unauthorized copying of this file is strictly prohibited.": "LicenseRef-proprietary",
    "Licensed under the MIT License. For non-commercial use only.": "MIT AND LicenseRef-noncommercial",
    'Licensed under the Apache License 2.0 with the "Commons Clause" condition': "Apache-2.0 AND LicenseRef-Commons-Clause",
    "Licensed under the Terms of the Moon, which nobody has read.": "LicenseRef-unknown",
    APACHE_NOTICE + " Some changes licensed under the license of the Moon project (see LICENSE file).": "Apache-2.0 AND LicenseRef-unknown",
    "Copyright 2020 The Authors. All rights reserved. See the LICENSE file for details.": None,
    "Copyright 2020 The Authors. All rights reserved.": None,
    "A parser of licences: tells the MIT from the GPL.": None,
}
STYLES = ("/*\n{}\n */\n", "# {}\n", "<!-- {} -->\n", '"""{}"""\n', "dnl {}\n")


@pytest.mark.parametrize(("notice", "expected"), NOTICES.items(), ids=lambda value: str(value)[:40])
def test_published_notices_in_any_comment_and_any_width(notice: str, expected: str | None) -> None:
    for style in STYLES:
        for width in (38, 79):
            lines, line = [], ""
            for word in notice.split():
                if len(line) + len(word) >= width:
                    lines.append(line)
                    line = ""
                line = f"{line} {word}".strip()
            lines.append(line)
            between = "\n# " if style[0] == "#" else "\ndnl " if style[0] == "d" else "\n * "
            assert notice_of(f"#!/bin/sh\n{style.format(between.join(lines))}\nx = 1\n") == expected


def test_a_notice_past_the_head_is_not_looked_for() -> None:
    assert notice_of("x\n" * HEAD + ONLY) is None


def test_what_aclocal_gathers_is_looked_at_whole() -> None:
    notice = "This file is free software; the Free Software Foundation gives unlimited permission to copy and/or distribute it."
    gathered = f"# generated automatically by aclocal 1.16.5 -*- Autoconf -*-\n# {notice}\n" + "m4_define\n" * HEAD
    found = notice_of(gathered + GNU.format("", "", 2).replace("\n", "\ndnl ") + "\n")
    assert found is not None
    assert "GPL-2.0-or-later" in found
    assert not is_allowed(found)


@pytest.mark.parametrize(
    "dedicated", ["License: https://creativecommons.org/publicdomain/zero/1.0/", "This table is in the public domain.", "License: CC0"]
)
def test_a_dedication_behind_code_is_not_the_whole_files(dedicated: str) -> None:
    at_the_head, behind = f"# {dedicated}\nCOLORS = {{\n    'b': 1,\n}}\n", f"COLORS = {{\n    'b': 1,\n}}\n# {dedicated}\nMORE = {{\n}}\n"
    assert is_allowed(notice_of(at_the_head))
    assert is_allowed(notice_of(f"from . import (\n    db,\n)\n__authors__ = [\n    'A',\n]\n# {dedicated}\n"))
    assert notice_of(behind) is None
    whole = licenses.license_of("p/a.py", behind, {"p": licenses.Found("GPL-2.0-only", "p/LICENSE")}, None)
    assert whole is not None
    assert whole.expression == "GPL-2.0-only"
    assert not is_allowed(notice_of(f"{behind}# {ONLY}\n"))


def test_a_tag_counts_before_words_but_not_without_what_restricts() -> None:
    found = licenses.license_of("a.py", f"# SPDX-License-Identifier: GPL-2.0-only\n# {GNU.format('', '', 2)}", {}, None)
    assert found is not None
    assert (found.expression, found.origin) == ("GPL-2.0-only", "SPDX tag")
    clause = licenses.license_of("a.py", "# SPDX-License-Identifier: Apache-2.0\n# with the Commons Clause, a license condition", {}, None)
    assert clause is not None
    assert not is_allowed(clause.expression)
    wrong = licenses.license_of("a.py", "# SPDX-License-Identifier: Own-Terms-7\n", {"": licenses.Found("MIT", "LICENSE")}, "MIT")
    assert wrong is not None
    assert wrong.expression == "LicenseRef-unknown"


def test_a_header_counts_before_the_folder_and_the_folder_is_told() -> None:
    found = licenses.license_of("p/a.c", ONLY, {"p": licenses.Found("MIT", "p/LICENSE")}, None)
    assert found == licenses.Found("GPL-2.0-only", "header", (licenses.Found("MIT", "p/LICENSE"),))
    itself = licenses.license_of("p/LICENSE", MIT, {"p": licenses.Found("MIT", "p/LICENSE")}, None)
    assert itself == licenses.Found("MIT", "p/LICENSE")


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz (),.-\n", max_size=300))
def test_words_after_licensed_under_that_no_table_knows_permit_nothing(words: str) -> None:
    found = notice_of(f"Licensed under the zorkmid terms. {words.replace('mit', '').replace('isc', '').replace('bsd', '')}")
    assert found is None or not is_allowed(found)


RESTRICTED = {
    "commons clause": MIT
    + '\n"Commons Clause" License Condition v1.0\n\nThe Software is provided to you subject to the following condition.',
    "good, not evil": MIT.replace("THE SOFTWARE IS", "The Software shall be used for Good, not Evil.\n\nTHE SOFTWARE IS"),
    "non-commercial": MIT + "\nThis software is licensed for non-commercial use only.\n",
    "additional terms": MIT + "\nAdditional terms: you may not use the Software to train a model.\n",
    "unknown text": "You may look at this software on Sundays and holidays, provided that you are wearing a hat while you do so.\n",
    "reserved": "Copyright 2020 Somebody. All rights reserved.\n",
}


@pytest.mark.parametrize("text", RESTRICTED.values(), ids=RESTRICTED)
def test_what_restricts_a_licence_or_is_not_recognised_permits_nothing(text: str) -> None:
    for beside in ([], [("package.json", '{"license": "MIT"}')]):
        found = licenses.of_directories([("LICENSE", text), *beside])[""]
        assert not is_allowed(found.expression), found
    assert is_allowed(licenses.of_directories([("LICENSE", MIT)])[""].expression)


def test_metadata_that_asks_for_more_than_the_texts_counts_with_them() -> None:
    gpl = licenses.of_directories([("LICENSE", MIT), ("package.json", '{"license": "GPL-3.0-only"}')])[""]
    assert gpl.expression == "MIT AND GPL-3.0-only"
    either = licenses.of_directories([("LICENSE", MIT), ("package.json", '{"license": "(MIT OR GPL-3.0-only)"}')])[""]
    assert either.expression == "MIT OR GPL-3.0-only"
    both = licenses.of_directories([("LICENSE-MIT", MIT), ("LICENSE-APACHE", APACHE), ("LICENSE-COMMONS", RESTRICTED["commons clause"])])
    assert not is_allowed(both[""].expression)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("package.json", '{"license": "SEE LICENSE IN LICENSE.txt"}', None), ("package.json", '{"license": "UNLICENSED"}', "LicenseRef-proprietary"), ("package.json", '{"license": "Moon terms"}', "LicenseRef-unknown"),
        ("x.gemspec", 'Gem::Specification.new do |s|\n  s.licenses = ["MIT", "Ruby"]\nend\n', "MIT OR Ruby"), ("x.cabal", "name: x\nlicense: BSD3\n", "BSD-3-Clause"),
        ("DESCRIPTION", "Package: x\nLicense: GPL-2 | GPL-3\n", "GPL-2.0-only OR GPL-3.0-only"), ("DESCRIPTION", "Package: x\nLicense: GPL (>= 2) + file LICENSE\n", "GPL-2.0-or-later"), ("DESCRIPTION", "Package: x\nLicense: file LICENSE\n", None),
        ("METADATA", "Name: x\nClassifier: License :: Other/Proprietary License\n", "LicenseRef-proprietary"), ("METADATA", "Name: x\nLicense: UNKNOWN\nClassifier: License :: OSI Approved\n", None), ("METADATA", "Name: x\nLicense: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n", "MIT"),
        ("setup.cfg", "[metadata]\nname = x\nclassifiers =\n    License :: OSI Approved :: ISC License (ISCL)\n", "ISC"),
    ],
)  # fmt: skip
def test_metadata_of_more_kinds_and_of_licences_that_no_list_has(name: str, text: str, expected: str | None) -> None:
    assert package_metadata.license_of_metadata(name, text) == expected


@given(st.text(max_size=200))
def test_the_normal_form_is_words_of_ascii_whatever_marks_and_letters_are_written(text: str) -> None:
    form = normal_form(text)
    assert set(form) <= set("abcdefghijklmnopqrstuvwxyz0123456789.+ ")
    plain = "".join(character for character in text if character.isascii() and character not in ".+")
    assert normal_form(plain.upper()) == normal_form(plain) == normal_form(plain.replace(" ", " * ").replace("\n", "\n// "))


@pytest.mark.parametrize("hostile", ["license " * 1000, "redistribution and use " * 400, "gpl version 2 or " * 500, "permission is hereby granted free of charge to any person obtaining a copy " * 100, "cc by " * 1500, "copyright license apache 2.0 mit bsd gpl " * 200, "generated automatically by aclocal " + "gpl version 2 or " * 500, "}\n" * 1000 + "public domain " * 100])  # fmt: skip
def test_hostile_heads_take_steps_in_proportion(hostile: str) -> None:
    in_proportion(lambda text: notice_of(text), hostile)
