"""Charsets of the web: as a browser decodes them, and found where pages say them late, wrongly or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.readers.charsets import decode, decode_strictly, detect, name_of
from pipeline.readers.page_charset import charset_of, to_text, top_level_of
from tests.work import in_proportion

BROWSER = Path(__file__).with_name("charsets-of-browsers.tsv")

# The standard's name, and Python's codec of the same characters.
PYTHON = {
    "shift_jis": "cp932",
    "euc-jp": "euc_jp",
    "euc-kr": "cp949",
    "big5": "big5hkscs",
    "gb18030": "gb18030",
    "windows-1251": "cp1251",
    "koi8-r": "koi8_r",
    "x-mac-cyrillic": "mac_cyrillic",
    "windows-874": "cp874",
    "iso-8859-2": "iso8859_2",
}


def recorded() -> list[tuple[str, str, str]]:
    """Charset, bytes and code points, as Chromium 156 decodes random bytes, right and wrong ones (`TextDecoder`)."""
    return [tuple(line.split("\t")) for line in BROWSER.read_text().splitlines()]  # type: ignore[misc]


def test_bytes_are_decoded_as_a_browser_does() -> None:
    differ = []
    for name, data, points in recorded():
        text = decode(bytes.fromhex(data), name)
        if [f"{ord(character):x}" for character in text] != points.split():
            differ.append((name, data, text))
    assert not differ


@pytest.mark.parametrize("name", PYTHON)
def test_characters_of_pythons_codec_are_the_same(name: str) -> None:
    """All characters that it reads as it writes them."""
    codec, differ = PYTHON[name], ""
    for code in range(0x80, 0x30000):
        data = chr(code).encode(codec, "ignore")
        is_private = 0xE000 <= code < 0xF900  # what has a place in Unicode by now, or never was a character
        if data and not is_private and data.decode(codec) == chr(code) != decode(data, name):
            differ += chr(code)
    # What the standard reads otherwise on purpose: the full-width twins of these signs, and gb18030 of 2005 instead of 2000.
    assert differ == {"euc-jp": "¢£¬‖−〜", "big5": "¢£¥•‾∼☉♁／＼､", "gb18030": "ḿ"}.get(name, "")


@given(st.text(st.sampled_from("地図①㈱ｱァ漢ー、。A1 \n"), max_size=40), st.data())
def test_a_byte_that_is_wrong_costs_one_character(text: str, data: st.DataObject) -> None:
    """Of Shift_JIS, cp949 and gb18030: the text around it is what it was."""
    name, codec, bad = data.draw(st.sampled_from([("shift_jis", "cp932", b"\xff"), ("gb18030", "gb18030", b"\xff")]))
    kept = text.encode(codec, "ignore").decode(codec)
    at = data.draw(st.integers(0, len(kept)))
    raw = kept[:at].encode(codec) + bad + kept[at:].encode(codec)
    assert decode(raw, name) == kept[:at] + "\ufffd" + kept[at:]


def test_what_is_not_valid_is_said_with_its_place() -> None:
    for name, data, place in [("shift_jis", "地".encode("cp932") + b"\xff", 2), ("windows-1253", b"ab\xaa", 2), ("gb18030", b"a\x81", 1)]:
        with pytest.raises(UnicodeDecodeError) as raised:
            decode_strictly(data, name)
        assert raised.value.start == place
    assert decode_strictly("①".encode("cp932"), "shift_jis") == "①"


def test_labels_are_those_of_the_standard() -> None:
    assert [name_of(label) for label in (" Latin1 ", "sjis", "ks_c_5601-1987", "x-mac-ukrainian", "gb2312", "ms_kanji", "cp866")] == [
        "windows-1252",
        "shift_jis",
        "euc-kr",
        "x-mac-cyrillic",
        "gbk",
        "shift_jis",
        "ibm866",
    ]
    assert name_of("none-such") is name_of("") is name_of(None) is None


KOREAN = "위원회는 월요일에 새로운 물 계획을 논의했다. 농부들은 펌프 가격이 올랐다고 말했다. "
RUSSIAN = "Комитет собрался в понедельник, чтобы обсудить новый план по воде. Дети смеялись. "
CHINESE = "委员会星期一开了会，讨论山谷里的新供水计划。农民们说水泵的价格又涨了。"
TAIWANESE = "委員會星期一開了會，討論山谷裡的新供水計畫。農民們說水泵的價格又漲了。"
JAPANESE = "委員会は月曜日に新しい水の計画を話し合った。農家はポンプの値段が上がったと言った。"
POLISH = "W starej bibliotece było cicho, a dzieci śmiały się, otwierając książki. Jutro może padać deszcz. "
GREEK = "Στην παλιά βιβλιοθήκη επικρατούσε ησυχία και τα παιδιά γελούσαν. Αύριο μπορεί να βρέξει. "
FRENCH = "Dans la bibliothèque, l’après-midi était calme et les élèves riaient. Il pleuvra peut-être, déjà. "
THAI = "คณะกรรมการประชุมเมื่อวันจันทร์เพื่อหารือแผนน้ำใหม่ เด็กๆ หัวเราะขณะเปิดหนังสือ "
HEBREW = "בספרייה הישנה של העיר שרר שקט והילדים צחקו כשפתחו את הספרים. מחר אולי ירד גשם. "
TEXTS = [
    ("cp949", KOREAN),
    ("cp1251", RUSSIAN),
    ("koi8-r", RUSSIAN),
    ("cp866", RUSSIAN),
    ("gb18030", CHINESE),
    ("big5", TAIWANESE),
    ("cp932", JAPANESE),
    ("euc-jp", JAPANESE),
    ("iso2022_jp", JAPANESE),
    ("cp1250", POLISH),
    ("iso8859-2", POLISH),
    ("cp1253", GREEK),
    ("cp1252", FRENCH),
    ("cp874", THAI),
    ("cp1255", HEBREW),
    ("utf-8", KOREAN + FRENCH),
]


@pytest.mark.parametrize(("codec", "text"), TEXTS)
def test_a_charset_that_is_not_declared_is_found(codec: str, text: str) -> None:
    page = f"<html><head><title>t</title></head><body><p>{text * 2}</p></body></html>"
    assert to_text(page.encode(codec)) == page


@pytest.mark.parametrize(("codec", "label", "text"), [("cp949", "euc-kr", KOREAN), ("mac_cyrillic", "x-mac-cyrillic", RUSSIAN)])
def test_a_charset_that_is_declared_late_holds(codec: str, label: str, text: str) -> None:
    page = f"<html><head><!-- {'x' * 3000} <meta charset=big5> --><script>{' ' * 9000}</script><meta charset='{label}'></head><p>{text}"
    assert to_text(page.encode(codec)) == page


def test_who_says_the_charset_in_what_order() -> None:
    page = "<meta charset=koi8-r><p>Слово".encode("koi8-r")
    assert charset_of(page, "windows-1251", "big5") == "windows-1251"
    assert charset_of(page, "none-such", "big5") == "koi8-r"
    assert charset_of("<p>Слово".encode("koi8-r"), None, "koi8-r") == "koi8-r"
    assert charset_of(b"\xef\xbb\xbf<meta charset=koi8-r>", "big5") == "utf-8"
    assert charset_of(b'<?xml version="1.0" encoding="shift_jis"?><html>') == "shift_jis"
    assert charset_of(b"<meta charset=utf-16><p>a") == "utf-8"


@pytest.mark.parametrize("declared", [None, "utf-8", "windows-1252", "euc-kr"])
def test_one_broken_byte_in_a_page_of_utf_8_costs_one_character(declared: str | None) -> None:
    raw = KOREAN.encode() + b"\xb0" + FRENCH.encode()
    assert to_text(raw, declared) == KOREAN + "\ufffd" + FRENCH


def test_a_page_that_is_mostly_wrong_in_what_it_declares_is_in_what_it_looks_like() -> None:
    assert to_text((KOREAN * 3).encode("cp949"), "utf-8") == KOREAN * 3
    assert to_text((RUSSIAN * 3).encode("cp1251"), "shift_jis") == RUSSIAN * 3


def test_the_top_level_of_an_address() -> None:
    addresses = ["http://a.b.co.kr:80/x.y", "https://u:p@shop.ru/", "http://localhost", "<http://x.jp>", "x", None]
    assert [top_level_of(address) for address in addresses] == ["kr", "ru", "localhost", "jp", None, None]
    assert detect(b"abc", "Not A Domain!") in ("utf-8", "windows-1252")


@pytest.mark.parametrize("piece", [b"<!--", b"<meta ", b"<meta charset=", b"<?xml encoding=", b"\x1b$B", b"\x8f\xa1", b"\x81\x30\x81"])
def test_a_page_of_nothing_but_beginnings_takes_steps_in_proportion(piece: bytes) -> None:
    in_proportion(to_text, piece * (1_000_000 // len(piece)))


@given(st.binary(max_size=200), st.sampled_from(["shift_jis", "euc-jp", "euc-kr", "big5", "gbk", "iso-2022-jp", "koi8-u", "utf-16le"]))
def test_no_bytes_make_a_decoder_raise(data: bytes, name: str) -> None:
    text = decode(data, name)
    assert text.encode("utf-8", "surrogatepass") is not None
    assert to_text(data, name).isprintable() in (True, False)
