r"""Characters that TeX spells as commands: accents, symbols, control symbols such as `\%`, ligatures."""

from __future__ import annotations

import re
import unicodedata

from pipeline.readers.tex.state import State

ACCENTS = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", '"': "\u0308", "H": "\u030b", "c": "\u0327", "k": "\u0328",
    "=": "\u0304", "b": "\u0331", ".": "\u0307", "d": "\u0323", "r": "\u030a", "u": "\u0306", "v": "\u030c", "t": "\u0361",
    "G": "\u030f", "U": "\u030e",
}  # fmt: skip
SYMBOLS = {
    "ss": "ß", "SS": "ẞ", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "aa": "å", "AA": "Å", "o": "ø", "O": "Ø", "l": "ł", "L": "Ł",
    "i": "ı", "j": "ȷ", "dh": "ð", "DH": "Ð", "th": "þ", "TH": "Þ", "dj": "đ", "DJ": "Đ", "ng": "ŋ", "NG": "Ŋ", "S": "§", "P": "¶",
    "dag": "†", "ddag": "‡", "dagger": "†", "ddagger": "‡", "copyright": "©", "pounds": "£", "euro": "€", "texteuro": "€",
    "textyen": "¥", "textcent": "¢", "textsterling": "£", "ldots": "…", "dots": "…", "textellipsis": "…", "textendash": "–",
    "textemdash": "—", "textquoteleft": "‘", "textquoteright": "’", "textquotedblleft": "“", "textquotedblright": "”",
    "textquotesingle": "'", "textquotedbl": '"', "guillemotleft": "«", "guillemotright": "»", "og": "«", "fg": "»", "flqq": "«",
    "frqq": "»", "glqq": "„", "grqq": "“", "glq": "‚", "grq": "‘", "quotedblbase": "„", "textbackslash": "\\", "textasciitilde": "~",
    "textasciicircum": "^", "textunderscore": "_", "textbar": "|", "textless": "<", "textgreater": ">", "textbraceleft": "{",
    "textbraceright": "}", "textdollar": "$", "textbullet": "•", "textperiodcentered": "·", "textdegree": "°", "degree": "°",
    "textregistered": "®", "texttrademark": "™", "textmu": "µ", "micro": "µ", "textordfeminine": "ª", "textordmasculine": "º",
    "textonehalf": "½", "textonequarter": "¼", "textthreequarters": "¾", "texttimes": "×", "textdiv": "÷", "textpm": "±",
    "textexclamdown": "¡", "textquestiondown": "¿", "textvisiblespace": "␣", "slash": "/", "lbrack": "[", "rbrack": "]", "TeX": "TeX",
    "LaTeX": "LaTeX", "LaTeXe": "LaTeX2e", "BibTeX": "BibTeX", "AmS": "AMS", "eg": "e.g.", "ie": "i.e.", "etal": "et al.",
    "textsection": "§", "textparagraph": "¶", "textdagger": "†", "textnumero": "№", "lq": "‘", "rq": "’", "quad": " ", "qquad": " ",
    "space": " ", "enspace": " ", "thinspace": " ", "nobreakspace": " ", "newline": "\n", "linebreak": " ", "par": "\n\n", "and": ", ",
    "percent": "%", "lbrace": "{", "rbrace": "}", "hfill": " ", "hfil": " ", "dotfill": " ", "bigskip": "\n\n", "medskip": "\n\n",
    "smallskip": "\n\n", "endgraf": "\n\n", "newpage": "\n\n", "clearpage": "\n\n", "cleardoublepage": "\n\n", "tabularnewline": "\n",
    "cr": "\n", "crcr": "\n", "qed": "∎", "textrightarrow": "→", "textleftarrow": "←", "checkmark": "✓", "square": "□", "Box": "□",
    "ordinarycolon": ":", "bullet": "•", "star": "⋆", "textasteriskcentered": "*", "backslash": "\\", "dash": "—", "noindent": "",
}  # fmt: skip
CONTROL_SYMBOLS = {
    "%": "%", "&": "&", "$": "$", "#": "#", "_": "_", "{": "{", "}": "}", " ": " ", "\n": " ", "\t": " ", ",": " ", ";": " ", ":": " ",
    ">": " ", "!": "", "-": "", "/": "", "@": "", "*": "", "+": "", "<": "", "": " ", "|": "|",
}  # fmt: skip
_LIGATURES = (("---", "—"), ("--", "–"), ("``", "“"), ("''", "”"), ("?`", "¿"), ("!`", "¡"), ("`", "‘"), ("'", "’"))
_LIGATURE = re.compile(r"--|[`']")
_TIE, _UNDER = "\u0361", ("\u0323", "\u0331")  # an arc over two letters; marks below, which leave the dot of an i where it is
# Letters that papers give other meanings, as `\c` for a calligraphic c: here the author's definition wins.
REDEFINABLE = (
    set(ACCENTS) | {name for name in SYMBOLS if len(name) <= 2} | {"text", "dash", "star", "square", "Box", "bullet", "degree", "micro"}
)


def with_ligatures(text: str) -> str:
    """A run of text with the quotation marks and dashes that TeX makes of it."""
    if _LIGATURE.search(text):
        for before, after in _LIGATURES:
            text = text.replace(before, after)
    return text


def accent(state: State, mark: str) -> None:
    """Reads the letter that carries an accent, a combining character."""
    letters = state.tokens.argument()
    plain = "".join(SYMBOLS.get(token[1:].rstrip(), "") if token[0] == "\\" else token for token in letters if token not in "{}")
    if mark not in _UNDER:
        plain = plain.replace("ı", "i").replace("ȷ", "j")
    if plain:
        base = plain if mark == _TIE and len(plain) == 1 else plain[0] + mark + plain[1:]
        state.page.out.append(unicodedata.normalize("NFC", base))


def named_accent(state: State, name: str) -> None:
    r"""`\H{o}` and its kin."""
    accent(state, ACCENTS[name.removesuffix("*")])


def symbol(state: State, name: str) -> None:
    r"""`\ss` and its kin; those that end a paragraph."""
    text = SYMBOLS[name.removesuffix("*")]
    if text == "\n\n":
        state.page.paragraph()
    else:
        state.page.out.append(text)
