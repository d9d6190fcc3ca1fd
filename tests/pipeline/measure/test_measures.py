"""What line, code and science rules look at, against slow, plain Python and the published expressions."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.utf8 import mathematical_symbols, utf8_view
from pipeline.measure import lines as line_measures
from pipeline.measure.code import measure_code
from pipeline.measure.lines import measure_lines
from pipeline.measure.scanner import character_classes
from pipeline.measure.science import measure_science
from pipeline.measure.stage import measure_text
from tests.profiles import share


def lines_of(text: str) -> list[dict[str, object]]:
    offsets, data = utf8_view(pa.array([text]))
    columns = measure_lines(offsets, data, *character_classes(), np.ones(1, bool))
    values = {name: column.to_pylist()[0] for name, column in columns.items() if name != "citations"}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def code_of(text: str, language: str | None) -> dict[str, float]:
    offsets, data = utf8_view(pa.array([text]))
    return {name: column.to_pylist()[0] for name, column in measure_code(offsets, data, [language], np.ones(1, bool)).items()}


def science_of(text: str) -> dict[str, float]:
    offsets, data = utf8_view(pa.array([text]))
    columns = measure_science(offsets, data, character_classes()[0], mathematical_symbols(), np.ones(1, bool))
    return {name: column.to_pylist()[0] for name, column in columns.items()}


# --- lines -------------------------------------------------------------------------------------------------------------

CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]", re.IGNORECASE)
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
PIECES = st.lists(
    st.sampled_from(
        ["Words", "of", "a", "line", ".", "...", "!", '"', "[12]", "[edit]", "[citation needed]", "[x]", "JavaScript", "lorem Ipsum", "{", "é", "Ж",
         "privacy policy", "we use cookies", "terms of uses", "x" * 1001, "3", "likes", "\n", "\n", "Sign in", "read more", "Read more...", "items in cart", "A.B", "U"]
    ) | st.sampled_from([" ", "  ", "\t"]),
    max_size=40,
).map("".join)  # fmt: skip


@settings(max_examples=share(5))
@given(PIECES)
def test_lines_are_measured_as_c4s_code_reads_them(text: str) -> None:
    """Against the steps of C4's filter, as datatrove has them, in plain Python."""
    found = lines_of(text)
    assert [row["line_bytes"] for row in found] == [len(line.encode()) for line in text.split("\n")]
    for line, row in zip(text.split("\n"), found, strict=True):
        flags = row["line_flags"]
        assert isinstance(flags, int)
        stripped = line.strip()
        words = stripped.split()
        rest = CITATION.sub("", stripped)
        assert row["line_words"] == len(words)
        assert row["line_longest_word"] == max(map(len, words), default=0)
        assert bool(flags & line_measures.TERMINAL_MARK) == rest.endswith((".", "?", "!", '"', "'"))
        assert bool(flags & line_measures.ELLIPSIS) == rest.endswith("...")
        assert bool(flags & line_measures.CURLY_BRACKET) == ("{" in rest)
        assert bool(flags & line_measures.JAVASCRIPT) == ("javascript" in stripped.lower())
        assert bool(flags & line_measures.LOREM_IPSUM) == ("lorem ipsum" in stripped.lower())
        assert bool(flags & line_measures.POLICY) == any(policy in stripped.lower() for policy in POLICIES)
        assert bool(flags & line_measures.SIGN_IN) == bool(re.match(r"sign[- ]?(in|out)", stripped.lower()))
        assert bool(flags & line_measures.READ_MORE) == bool(re.search(r"read more[. \t]*$", stripped.lower()))
        assert bool(flags & line_measures.IN_CART) == ("items in cart" in stripped.lower())
        assert row["line_upper"] == pytest.approx(
            sum("A" <= c <= "Z" for c in line) / max(1, len(line)), abs=0.02 if "Ж" not in line else 1
        )


@pytest.mark.parametrize(
    ("line", "words", "ends", "sentences"),
    [
        ("春天来了，万物复苏。河边的柳树长出了新芽。", 13, True, 2),
        ("他说：“今天很冷。”", 4, True, 1),
        ("春が来て、すべてが目を覚ました」", 10, True, 1),
        ("我不知道……", 3, True, 1),
        ("春天来了，", 3, False, 1),
        ("ทุกเช้ายายเดินไปตลาด", 6, False, 1),
        ("आज मौसम अच्छा है।", 4, True, 1),
        ("هل أنت بخير؟", 3, True, 1),
        ("བོད་ཡིག་སློབ།", 3, True, 1),
        ("iPhone手机 new", 3, False, 1),
        ("오늘은 날씨가 좋다.", 3, True, 1),
        ("Plain words…", 2, False, 1),
        ("He said “so.”", 3, False, 1),
    ],
)
def test_lines_of_other_scripts_have_words_and_ends(line: str, words: int, ends: bool, sentences: int) -> None:
    (row,) = lines_of(line)
    assert bool(row["line_flags"] & line_measures.TERMINAL_MARK) == ends  # type: ignore[operator]
    assert row["line_sentences"] == sentences
    assert abs(row["line_words"] - words) <= max(1, words // 4)  # type: ignore[operator]
    assert row["line_longest_word"] < 10 or line.isascii()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("line", "is_counter"),
    [("3 likes", True), ("1,234 comments", True), ("1.2K views", True), ("12M  followers", True), ("3 likes it", False), ("likes", False),
     ("3 cats", False), ("3likes", False), ("  7 Shares ", True)],
)  # fmt: skip
def test_counters(line: str, is_counter: bool) -> None:
    assert bool(lines_of(line)[0]["line_flags"] & line_measures.COUNTER) == is_counter  # type: ignore[operator]


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("One. Two! Three?", 3),
        ("Dr. Smith of the U.S. Army paid 3.50 dollars, e.g. for this.", 1),
        ("He said so (at last). She left...", 2),
        ("No mark at all", 1),
        ("", 0),
        ("One.Two", 2),
        ("See example.com for more. Yes!", 2),
        ("一。二。", 2),
    ],
)
def test_sentences_end_at_marks_that_end_them(line: str, sentences: int) -> None:
    assert lines_of(line)[0]["line_sentences"] == sentences


# --- code --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "text", "comment"),
    [
        ("Python", 'x = "# no"  # yes\ny = 1\n', "# yes"),
        ("Python", 'def f():\n    """Doc."""\n    return """no"""\n', '"""Doc."""'),
        ("C", 'int x; /* a\nb */ char *s = "// no"; // c\n', "/* ab */// c"),
        ("JavaScript", "let u = `http://x`; // c", "// c"),
        ("SQL", "select 1 -- one\n/* two */;", "-- one/* two */"),
        ("Lua", "--[[ long\ncomment ]] x = 1 -- short", "--[[ longcomment ]]-- short"),
        ("HTML", "<p>text</p><!-- é -->", "<!-- é -->"),
        ("Haskell", "{- a -} x = 1 -- b", "{- a -}-- b"),
        ("JSON", '{"a": "// no"}', ""),
        (None, "# none", ""),
    ],
)
def test_comments_are_found_by_the_languages_own_marks(language: str | None, text: str, comment: str) -> None:
    assert code_of(text, language)["comments"] == pytest.approx(len(comment) / len(text))


# The Stack v2's expression for base64 and for escapes, and ours for hex (see `code._encoded`), leftmost first.
ENCODED = re.compile(
    r"[a-zA-Z0-9+/\n=]{64,}"
    r"|(?<![0-9A-Za-z_\u0080-\U0010ffff])(?:(?:0x|\\x)?[0-9a-fA-F]{2}(?![0-9A-Za-z_\u0080-\U0010ffff])(?:[, \t\n]+|(?=\\x)|(?![, \t\n\\])|(?=\\)))"
    r"{8,}|(?:\\u[0-9a-fA-F]{4}){8,}"
)
RUNS = st.lists(
    st.sampled_from(["ab", "41 ", "0x41, ", "\\x41", "\\u00e9", "A" * 40, "b" * 70, "=", "+", "\n", "_", " ", "é", ".", "ff", "zz "])
    | st.sampled_from(["41 " * 9, "\\x4f" * 9, "\\u1234" * 8, "0xff," * 8]),
    max_size=25,
).map("".join)  # fmt: skip


@settings(max_examples=share(5))
@given(RUNS)
def test_runs_of_encoded_data_are_those_of_the_expressions(text: str) -> None:
    runs = [len(match.group().rstrip(", \t\n") if not re.fullmatch(r"[a-zA-Z0-9+/\n=]{64,}", match.group()) else match.group()) for match in ENCODED.finditer(text)]  # fmt: skip
    found = code_of(text, None)
    assert found["longest_encoded"] == max(runs, default=0)
    assert found["encoded"] == pytest.approx(sum(runs) / max(1, len(text)))


def test_markup_is_weighed_by_what_a_reader_sees() -> None:
    page = "<html><head><style>p {}</style></head><body><!-- no > --><p>Seen  text</p><script>let no = 1</script></body></html>"
    assert code_of(page, "HTML")["markup_text_characters"] == len("Seen text")
    assert code_of("text", "Python")["markup_text"] == 1
    assert code_of('<?xml version="1.0"?>', "XML")["xml"] == 1
    assert code_of("x" * 100 + '<?xml version="1.0"?>', "XML")["xml"] == 0
    assert code_of("a\nb\n", None)["total_lines"] == code_of("a\nb", None)["total_lines"] == 2


# --- science -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "citations"),
    [
        ("As shown [12] and [3, 4–6], but not [a] or [see 3].", 2),
        ("It is known (Smith, 2010; Jones et al. 1999a) and (see Smith 2001, p. 3), not (since 20100) nor (n = 5).", 2),
    ],
)
def test_citations_are_counted_by_their_brackets(text: str, citations: int) -> None:
    words = len(re.findall(r"\w+", text))
    assert science_of(text)["citations_per_word"] == pytest.approx(citations / words)


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        ("Let $a^2$ and \\(b\\) and $$c$$ be.", ["$a^2$", "\\(b\\)", "$$c$$"]),
        ("It costs $5 to $6 today.", []),
        ("We have x ∈ A.", ["∈"]),
        ("An open \\[ without an end", []),
    ],
)
def test_mathematics_is_what_stands_between_its_marks(text: str, formulas: list[str]) -> None:
    assert science_of(text)["mathematics"] == pytest.approx(sum(map(len, formulas)) / len(text))


def test_references_begin_at_their_last_heading_and_end_at_an_appendix() -> None:
    body, references, appendix = "Text of\n\n", "7. References\n[1] One.\n[2] Two.\n", "Appendix A\nMore.\n"
    found = science_of(body + references + appendix)
    assert (found["references_begin"], found["references_end"]) == (len(body), len(body + references))
    found = science_of(body + references)
    assert (found["references_begin"], found["references_end"]) == (len(body), len(body + references))
    assert science_of("References are good to have.\n")["references_begin"] == -1


def test_damage_by_character_recognition_is_counted() -> None:
    found = science_of("A b s t r a c t\nof a paper with bro-\nken lines and lost \ufffd\n x y ")
    assert found["spaced_letters"] == 1
    assert found["broken_lines"] == pytest.approx(1 / 4)
    assert found["replacement_characters"] > 0
    assert science_of("I am a man. A b c")["spaced_letters"] == 0


# --- hostile text ------------------------------------------------------------------------------------------------------

HOSTILE = ["a://", "a.", "'", "a'", "$", "$a ", "\\(", "\\[", "$$a", "(", "(1", "[", "[1", "[edi", "read more.", "javascrip", "ab ", "\\u12", "0x", "+a", "{",
           "/*", '"""', "<!--", "<script", "\n", "-\n", "References\n", "a b ", "é", "\u0301", "漢", "...", "Dr.", "A."]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("piece", HOSTILE)
def test_two_megabytes_of_anything_are_measured_at_once(piece: str) -> None:
    """Every kernel looks at each byte a bounded number of times, so none of these takes more than a moment."""
    text = piece * (2_000_000 // len(piece.encode()))
    statistics_of_text = measure_text(pa.array([text]))
    assert statistics_of_text["bytes"][0].as_py() == len(text.encode())
    code_of(text, "Python")
    code_of(text, "HTML")
    code_of(text, "C")
