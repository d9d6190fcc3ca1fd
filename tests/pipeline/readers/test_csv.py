"""Files of separated values as Excel, MySQL and statistics' offices write them; what Python's csv module writes is in test_files.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.readers import PassedOver, Record, Unreadable, list_files, read_file, source_config


def read(folder: Path, content: bytes, name: str = "a.csv", **keys: object) -> tuple[list[Record], list[str]]:
    """The records, and what else is said."""
    (folder / name).write_bytes(content)
    source = source_config(name="t", domain="web", format="csv", path=str(folder / name), **keys)
    items = [item for file in list_files(source, folder) for item in read_file(file, source)]
    others = [item.kind if isinstance(item, PassedOver) else item.error for item in items if isinstance(item, PassedOver | Unreadable)]
    return [item for item in items if isinstance(item, Record)], others


@pytest.mark.parametrize(
    ("content", "texts", "others"),
    [
        ("sep=;\r\nid;text\r\n1;a,b\r\n", ["a,b"], ["comment"]),
        ("sep=|\ntext|n\na|1\n", ["a"], ["comment"]),
        ("# made by X\n# on a day, at noon\nid,text\n1,#a\n#2,b\n# end\n", ["#a", "b"], ["comment", "comment", "comment"]),
        ("#id,text\n1,a\n#2,b\n", ["a", "b"], []),
        ("# note\n#id,text\n1,a\n", ["a"], ["comment"]),
        ('id,text\n1,"say \\"x\\", he"\n2,"C:\\new\\\\"\n', ['say "x", he', "C:\\new\\"], []),
        ("id,text\n1,a\\,b\n2,c\n3,d\\,e\n", ["a,b", "c", "d,e"], []),
        ('id,text\n1,"C:\\"\n2,"a""b\\n"\n', ["C:\\", 'a"b\\n'], []),
        ('id,text\n1,"a\nb"\n2,"c ""d"""\n', ["a\nb", 'c "d"'], []),
        ("\ufeffid,text\n1,a\n", ["a"], []),
        ("text,text,n\na,b,c\n", ["a"], []),
    ],
)
def test_what_excel_mysql_and_offices_write_is_read(tmp_path: Path, content: str, texts: list[str], others: list[str]) -> None:
    records, said = read(tmp_path, content.encode())
    assert [record.text for record in records] == texts
    assert said == others


def test_what_the_recipe_says_is_not_looked_for(tmp_path: Path) -> None:
    records, said = read(tmp_path, b"sep=;\nid,text\n1,a;b\n%2,c\n#3,d\n", delimiter=",", comment="%")
    assert [(record.id, record.text) for record in records] == [("1", "a;b"), ("#3", "d")]
    assert said == ["comment", "comment"]
    records, _ = read(tmp_path, b'text\n"a^"b"\n', escape="^")
    assert records[0].text == 'a"b'


def test_rows_of_fewer_fields_are_noted_and_columns_of_one_name_are_kept(tmp_path: Path) -> None:
    records, _ = read(tmp_path, b"text,n,n\na\nb,1,2\n")
    assert [record.notes for record in records] == [("row of fewer fields than columns",), ()]
    assert records[1].meta == {"n": "1", "n.1": "2"}


@pytest.mark.parametrize(
    "charset", ["utf-16", "utf-16-le", "utf-32", "shift_jis", "gbk", "big5", "euc-kr", "euc-jp", "windows-1251", "mac-roman", "cp437"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_charset_that_a_recipe_may_name_is_read(tmp_path: Path, charset: str, end: str) -> None:
    word = {"windows-1251": "Дом", "mac-roman": "Öl", "cp437": "Öl", "big5": "電腦", "gbk": "电脑", "euc-kr": "사람"}.get(charset, "表示")
    rows = ["id,text", f'1,"{word}"', f'2,"a{end}b {word}"', ""]
    records, said = read(tmp_path, end.join(rows).encode(charset), encoding=charset)
    assert not said
    assert [record.text.replace(end, "\n") for record in records] == [word, f"a\nb {word}"]


def test_the_tables_of_browsers_are_used_and_a_wrong_byte_costs_its_row(tmp_path: Path) -> None:
    records, said = read(tmp_path, b"id,text\n1,\x87\x40\n2,\x87\n3,a\n", encoding="shift_jis")
    assert [record.text for record in records] == ["①", "a"]  # a circled one, which is in no JIS X 0208
    assert said == ["not shift_jis"]


FIELD = st.text('ab"\\,\n #;', max_size=8)


@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=6))
def test_rows_with_backslashes_are_read_as_they_were_written(rows: list[tuple[str, str]]) -> None:
    import tempfile

    def quoted(field: str) -> str:
        return '"' + field.replace("\\", "\\\\").replace('"', '\\"') + '"'

    content = "".join(f"{quoted(title)},{quoted(text)}\n" for title, text in [("title", "text"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        records, said = read(Path(folder), content.encode(), escape="\\", delimiter=",")
    assert not said
    assert [(record.title, record.text) for record in records] == rows
