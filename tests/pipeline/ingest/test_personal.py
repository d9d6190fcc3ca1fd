"""Personal data: what is an address and what only looks like one; the peer's decisions on real text; hostile text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest.emails import top_level_domains
from pipeline.ingest.personal import TOKENS, Kind, PersonalDataConfig, change_strings, find, mask, strings
from tests.pipeline.corpus import json_lines
from tests.profiles import share
from tests.work import in_proportion

ALL: tuple[Kind, ...] = ("email", "ip", "phone")


def masked(text: str) -> str:
    """The text with one letter for each placeholder."""
    result = mask(text, ALL)[0]
    for kind, token in TOKENS.items():
        result = result.replace(token, f"<{kind[0]}>")
    return result


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to jane.doe+news@mail.example.org.", "write to <e>."),
        ("mailto:o'neil@example.co.uk?subject=x", "mailto:<e>?subject=x"),
        ("<a@b.io>,c_d@e-f.museum;", "<<e>>,<e>;"),
        ("联系邮箱foo@bar.com谢谢", "联系邮箱<e>谢谢"),
        ("to=x@y.org&/home/z@y.org", "to=<e>&/home/<e>"),
        ("x@xn--mnchen-3ya.xn--p1ai", "<e>"),
        ("a@b.com@c.com", "<e>@c.com"),
        ("lodash@4.17.21 icon@2x.png @decorator user@localhost a@b..com @ a@-b.com", None),
        ("git@github.com:org/repo.git", None),
        ("a..b@c.org", "a..<e>"),
        (".@a.org", None),
        ("host 8.8.8.8, 8.8.4.4:53 and 1.1.1.0/24.", "host <i>, <i>:53 and <i>/24."),
        ("10.0.0.1 192.168.1.1 127.0.0.1 192.0.2.7 255.255.255.0 169.254.0.1", None),
        ("v1.2.3.4 1.2.3.4.5 91.198.174.192-> 01.02.03.04 256.1.1.1 x8.8.8.8", "v1.2.3.4 1.2.3.4.5 <i>-> 01.02.03.04 256.1.1.1 x8.8.8.8"),
        ("version 91.198.174.192, §91.198.174.192, Chrome/91.198.174.192, foo-91.198.174.192, EC 3.4.21.4, formula 2.1.3.3/2.1.3.3", None),
        ("[2001:4860:4860::8888]:53, 2606:4700:4700::1111: yes", "[<i>]:53, <i>: yes"),
        ("2001:db8::1 fe80::1 std::cout a::b 12:34:56 2004::07:48 2001:470:1f0b", None),
        ("call +44 20 7946 0958 or +1 (212) 555-0123", "call <p> or <p>"),
        ("(212) 555-0123, 212-555-0123, 1-866-555-0123, 212.555.0123", "<p>, <p>, <p>, <p>"),
        ("Tel. 030/1234567, Fax: 91 798 34 42", "Tel. <p>, Fax: <p>"),
        ("Papyrus 614 629 1241; ISBN 978-0-306-40615-7; 1990-1999; 1234567890; 2+1234567; x+12345678", None),
        ("doi 10.1000/182-555-0123 and 3.14159265358979", None),
    ],
)
def test_addresses_are_masked_and_what_looks_like_them_is_not(text: str, expected: str | None) -> None:
    assert masked(text) == (text if expected is None else expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("this@MainActivity.finish(); q@k.transpose(-2, -1); all@Seq.empty; emp@remote.world", None),
        ("uses: org/repo/.github/workflows/build@release.next", None),
        ("FROM emp@remote.world; getty@tty1.service; icon@2x.png; user@host.com:path/to.git; ssh root@host.com", None),
        ('author = "jane@doe.dev" and <jane@doe.name>, mail jane@doe.io', 'author = "<e>" and <<e>>, mail <e>'),
        ("# jane@doe.org (c) 2020", "# <e> (c) 2020"),
    ],
)
def test_in_code_an_address_is_told_from_a_member_by_what_stands_beside_it(text: str, expected: str | None) -> None:
    masked = mask(text, ("email",), code=True)[0].replace(TOKENS["email"], "<e>")
    assert masked == (text if expected is None else expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("josé@müller.de, иван@пример.рф, 用户@例子.公司, info＠example.co.jp", "<e>, <e>, <e>, <e>"),
        ("联系foo@bar.com谢谢; kim@bar.한국로; 写信到foo@例子.中国谢谢", "联系<e>谢谢; <e>로; 写信到<e>谢谢"),
        ("Ask foo@bar.fiSupport or foo@bar.com.Then", "Ask <e>Support or <e>.Then"),
        ("x@y.notatop x@y.test x@y.invalid x@y.mT x@y.xn--nonsense0", None),
        (
            "https://user@host.com/ http://user:pass@host.com/ mailto://a@b.com",
            "https://user@host.com/ http://user:pass@host.com/ mailto://<e>",
        ),
        ("电话：010-82345678 手机 13800001234 ＴＥＬ：０３－１２３４－５６７８", "电话：<p> 手机 <p> ＴＥＬ：<p>"),
        ("فاكس: ٠٢٢٣٤٥٦٧٨ फ़ोन: 98100 12345 ফোন: 01712345678", "فاكس: <p> फ़ोन: <p> ফোন: <p>"),
        ("Тел. 8 (495) 123-45-67; Tél. : 01 99 00 12 34; Telp. 0812345678", "Тел. <p>; Tél. : <p>; Telp. <p>"),
        ("Tel.\u00a0(030)\u00a0123\u202f45\u202f67, Telefon: 069 / 920 77 00 / 069 / 920 77 01", "Tel.\u00a0<p>, Telefon: <p> / <p>"),
        ("kept at pH 7.35 - 7.45, pH 4.0 5.0 6.0 7.0, per cell 10.5-20.5 30.5, handy 2000-3000 4000 Stück", None),
        ("phone 1990-1999, Tel. 12.05.1961, fax 1 000 000, mobile 100 200 300", None),
        ("+48.858844 +2.294351, +1 000 000 000, +999 123 456 789, quant-ph/0606140, Mol. Cell 64, 560-636 2005", None),
    ],
)
def test_addresses_and_numbers_of_other_scripts_are_found_and_measures_are_not(text: str, expected: str | None) -> None:
    assert masked(text) == (text if expected is None else expected)


def test_top_level_domains_are_those_that_idna_writes_alike() -> None:
    """Each is there in letters and in punycode."""
    idna = pytest.importorskip("idna")
    names = top_level_domains()
    assert len(names) > 1400
    assert {"com", "de", "рф", "xn--p1ai", "中国", "भारत", "السعودية"} <= names
    assert not {"local", "test", "example", "invalid", "finish", "service", "png", "empty"} & names
    for name in names:
        assert (name if name.isascii() else idna.encode(name).decode()) in names


def test_the_kernel_knows_the_digits_and_marks_that_the_grammar_does() -> None:
    """Of all characters those that `PLAIN` makes a digit or a mark of ASCII."""
    from pipeline.ingest import personal
    from pipeline.ingest.telephones import PLAIN

    for code in range(0x80, 0x11000):
        kind = personal._in_number(code)
        plain = PLAIN.get(code)
        assert kind == (0 if plain is None else 2 if plain.isdigit() else 3 if plain in "+(" else 1), hex(code)
        if kind:
            assert personal._TABLE[chr(code).encode()[0]] & personal._LEAD, hex(code)


def test_kinds_are_counted_and_chosen_by_domain() -> None:
    text = "a@b.org IP 8.8.8.8 a@b.org"
    assert mask(text, ALL) == ("|||EMAIL_ADDRESS||| IP |||IP_ADDRESS||| |||EMAIL_ADDRESS|||", {"email": 2, "ip": 1})
    config = PersonalDataConfig()
    assert config.kinds("web") == config.kinds("science") == ALL
    assert config.kinds("code") == ("email",)
    assert mask("10.0.0.1", ("ip",), public_only=False)[1] == {"ip": 1}


def test_strings_of_a_record_are_changed_wherever_they_are() -> None:
    meta = {"a@b.org": ["x@y.org", {"deep": "c@d.org"}, 5, None, True]}
    assert sorted(strings(meta)) == ["c@d.org", "x@y.org"]
    assert change_strings(meta, lambda text: mask(text, ALL)[0]) == {"a@b.org": [TOKENS["email"], {"deep": TOKENS["email"]}, 5, None, True]}
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    change_strings(nested, str.upper)
    assert strings(nested) == []


PARTS = st.sampled_from(
    [
        "a",
        "Zz9",
        "@",
        "＠",
        "é@é.рф",
        "Tel. ",
        "٣٤",
        "５",
        "\u00a0",
        "（",
        ".",
        "..",
        "-",
        "_",
        "+",
        "8",
        "8.8.8.8",
        "2001:4860:",
        "::",
        ":",
        "(212)",
        " ",
        "555-0123",
        "é",
        "漢",
        "\n",
        "com",
    ]
)


@settings(max_examples=share(5))
@given(st.text(max_size=60) | st.lists(PARTS, max_size=20).map("".join))
def test_masking_is_complete_orderly_and_keeps_all_else(text: str) -> None:
    raw = text.encode()
    spans = find(raw, ALL)
    assert all(a.end <= b.begin for a, b in zip(spans, spans[1:], strict=False))
    for span in spans:
        found = raw[span.begin : span.end].decode()
        if span.kind == "email":
            name, top = re.fullmatch(r"([\w.%+'-]{1,64})[@＠](?:[\w-]+\.)+([\w-]+)", found).groups()  # type: ignore[union-attr]
            assert len(name.encode()) <= 64
            assert top.lower() in top_level_domains()
        elif span.kind == "ip":
            assert ipaddress.ip_address(found).is_global
        else:
            assert 7 <= sum(map(str.isdigit, found)) <= 15
    result, counts = mask(text, ALL)
    assert sum(counts.values()) == len(spans)
    rest = b"".join(raw[a:b] for a, b in zip([0, *(s.end for s in spans)], [*(s.begin for s in spans), len(raw)], strict=True))
    for token in TOKENS.values():
        result = result.replace(token, "")
    assert result == rest.decode() or any(token in text for token in TOKENS.values())


EMAIL = st.from_regex(r"[a-z][a-z0-9_]{0,10}(\.[a-z0-9]{1,8}){0,2}@([a-z][a-z0-9]{0,8}\.){1,3}(com|org|de|museum)", fullmatch=True)
IP = st.ip_addresses(v=4).map(str)


@given(EMAIL, IP, st.sampled_from([" ", "\n", ", ", "<", "("]))
def test_every_well_formed_address_is_found(email: str, ip: str, before: str) -> None:
    kinds = mask(f"x{before}{email} and IP{before}{ip}, no", ALL)[1]
    assert kinds.get("email") == 1
    assert kinds.get("ip", 0) == (ipaddress.ip_address(ip).is_global and not ipaddress.ip_address(ip).is_multicast)


@pytest.mark.parametrize(
    "piece",
    [
        "@",
        "a@",
        "é",
        "é@",
        "＠",
        "a@é.",
        "Tel. 0123456 / ",
        "+49 ",
        "(0",
        "５",
        "٣ ",
        "1.2.3.4 ",
        "1.1.1.1/",
        "ph 7.",
        "//a:",
        "ssh a@b.co ",
        "１２３４５６７ ",
        "-1",
        "a@b.",
        "a.a.a.",
        "1.",
        "1",
        "1.1.1.1@",
        "2001:",
        "::",
        "+1",
        "(212) ",
        "555-",
        "a@b.co ",
        "Tel. 1",
        "-",
        "\u0301",
    ],
)
def test_a_hostile_megabyte_takes_steps_in_proportion(piece: str) -> None:
    mask("a@b.org 8.8.8.8", ALL)
    in_proportion(lambda text: mask(text, ALL), piece * (1_000_000 // len(piece)))


def test_real_text_is_masked_where_datatrove_masks_it(real_data: Path) -> None:
    """Differences have these causes: versions of packages, logins in URLs and at machines, names that are no top-level domains, numbers that
    are part of longer ones or small as those of versions are, version 6, letters that are not ASCII."""
    pii = pytest.importorskip("datatrove.pipeline.formatters.pii").PIIFormatter()
    texts = json_lines(real_data / "code" / "multi-language.jsonl.zst", 1500) + json_lines(
        real_data / "dedup" / "wikipedia-en.jsonl.zst", 6000
    )
    agreed, differences = 0, []
    for text in texts:
        raw = text.encode()
        ours = find(raw, ("email", "ip"))
        spans = [(len(raw[: s.begin].decode()), len(raw[: s.end].decode()), s.kind) for s in ours]
        theirs = [(m.start(), m.end(), "email") for m in pii.emails_replacer.regex.finditer(text)]
        theirs += [(m.start(), m.end(), "ip") for m in pii.ip_replacer.regex.finditer(text) if pii.ip_replacer.validator(m[0])]

        def meets(one: tuple[int, int, str], others: Sequence[tuple[int, int, str]]) -> bool:
            return any(one[2] == other[2] and one[0] < other[1] and other[0] < one[1] for other in others)

        agreed += sum(meets(one, spans) for one in theirs)
        for begin, end, kind in (one for one in theirs if not meets(one, spans)):
            found, around = text[begin:end], text[max(0, begin - 1) : end + 2]
            version = kind == "email" and re.fullmatch(r".+@[0-9.x-]+|.+@.*\.(png|js|json|zip)", found)
            top = kind == "email" and found.rpartition(".")[2].rstrip("-").lower() not in top_level_domains()
            login = kind == "email" and (text[end : end + 1] == ":" or re.search(r"//[^\s\"']{0,40}\Z", text[max(0, begin - 42) : begin]))
            part = kind == "ip" and re.search(r"^[\w.]|[\w]$|\.\d$", around)
            small = kind == "ip" and sum(int(number) >= 64 for number in found.split(".")) < 2
            if not (version or top or login or part or small):
                differences.append((found, around))
        differences += [
            (text[b:e], kind) for b, e, kind in spans if not meets((b, e, kind), theirs) and ":" not in text[b:e] and text[b:e].isascii()
        ]
    assert agreed > 100
    assert len(differences) <= agreed // 50, differences
