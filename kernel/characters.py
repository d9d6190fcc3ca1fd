"""Characters by their names, for kernels: `from kernel import characters as char`, and then `data[at] == char.FULL_STOP`.

Numba takes the attributes of a module for constants, so a name costs nothing. What is up to `ASCII_END` is one byte in UTF-8, and
may be compared with a byte; the others are code points, as `utf8.decode` gives them.
"""

from __future__ import annotations

from typing import Any

from kernel.compile import kernel

# --- ASCII -------------------------------------------------------------------------------------------------------------

TAB, LINE_FEED, VERTICAL_TAB, FORM_FEED, CARRIAGE_RETURN = range(0x09, 0x0E)
SPACE = 0x20  # all below are controls
(
    EXCLAMATION_MARK,
    QUOTATION_MARK,
    NUMBER_SIGN,
    DOLLAR_SIGN,
    PERCENT_SIGN,
    AMPERSAND,
    APOSTROPHE,
    LEFT_PARENTHESIS,
    RIGHT_PARENTHESIS,
    ASTERISK,
    PLUS_SIGN,
    COMMA,
    HYPHEN,
    FULL_STOP,
    SLASH,
) = range(0x21, 0x30)
ZERO, ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN, EIGHT, NINE = range(0x30, 0x3A)
COLON, SEMICOLON, LESS_THAN, EQUALS_SIGN, GREATER_THAN, QUESTION_MARK, AT_SIGN = range(0x3A, 0x41)
A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T, U, V, W, X, Y, Z = range(0x41, 0x5B)  # noqa: E741
LEFT_BRACKET, BACKSLASH, RIGHT_BRACKET, CIRCUMFLEX, UNDERSCORE, GRAVE_ACCENT = range(0x5B, 0x61)
a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z = range(0x61, 0x7B)  # noqa: E741
LEFT_BRACE, VERTICAL_BAR, RIGHT_BRACE, TILDE, DELETE = range(0x7B, 0x80)

ASCII_END = 0x80  # bytes from here on are parts of a longer character
CASE = 0x20  # the bit by which a lower-case letter differs from its capital; setting it changes no digit, and some of the marks

# --- others ------------------------------------------------------------------------------------------------------------

EN_DASH, EM_DASH = 0x2013, 0x2014
LEFT_SINGLE_QUOTE, RIGHT_SINGLE_QUOTE = 0x2018, 0x2019
LEFT_DOUBLE_QUOTE, RIGHT_DOUBLE_QUOTE = 0x201C, 0x201D
BULLET, ELLIPSIS = 0x2022, 0x2026
RIGHT_CORNER_BRACKET, RIGHT_WHITE_CORNER_BRACKET = 0x300D, 0x300F  # quotes of Chinese and Japanese
WIDE_A, WIDE_Z = 0xFF21, 0xFF5A  # Latin letters of full width, large and small, with six marks between them
TSHEG = 0x0F0B  # between the syllables of Tibetan; the next character is one without a break
CAPITAL_A_CIRCUMFLEX, CAPITAL_A_TILDE = 0xC2, 0xC3
CAPITAL_LIGATURE_OE, SMALL_LIGATURE_OE = 0x152, 0x153
LONG_S = 0x17F  # which equals an s where case is ignored
REPLACEMENT_CHARACTER = 0xFFFD


@kernel(inline="always")
def is_digit(byte: int) -> Any:  # pragma: no cover - compiled
    """Whether a byte or code point is a digit of ASCII."""
    return ZERO <= byte <= NINE


@kernel(inline="always")
def is_letter(byte: int) -> Any:  # pragma: no cover - compiled
    """Whether a byte or code point is a letter of ASCII."""
    return a <= (byte | CASE) <= z


@kernel(inline="always")
def is_blank(byte: int) -> Any:  # pragma: no cover - compiled
    """Whether a byte or code point is white space of ASCII: a space, or one of the five controls from tab to carriage return."""
    return byte == SPACE or TAB <= byte <= CARRIAGE_RETURN


@kernel(inline="always")
def lower(byte: int) -> Any:  # pragma: no cover - compiled
    """A byte, with capitals of ASCII made small."""
    return byte + CASE if A <= byte <= Z else byte
