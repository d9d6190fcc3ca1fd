r"""TeX to light text, without TeX: an engine that knows what macros are, and what the field's commands mean.

Why our own: of the kept libraries, pylatexenc 2.11 read 0.13 MB/s of the books in the tests' data, does not expand macros and
recurses (it stops at a depth of a thousand), and the others call a TeX or a Haskell program. Here:

- Text is what a reader of the page sees: headings on lines of their own, lists as `- ` and `1. `, tables as rows with bars,
  captions, and footnotes after their paragraph. Pictures, preamble, acknowledgements that are marked as such, and bibliography are
  left out.
- Mathematics stays TeX, with the author's macros expanded: `$...$` within text; displays as `$$...$$` on lines of their own, those
  of several lines as `\begin{aligned}` within.
- Citations are numbers in the order of first mention, `[1, 2]`, as journals print them (natbib's and biblatex's too; JATS and S2ORC
  papers look the same, and rules that look at the density of citations find them). `\ref` and its kin get the number that LaTeX's
  counters would give in the standard classes, or nothing where that is not known.
- Macros (`\newcommand`, `\def` with undelimited or delimited parameters, `\let`, `\DeclareMathOperator`, xparse's, `\newenvironment`,
  `\newtheorem`) are expanded, but the commands whose meaning is known here keep it. Conditionals are taken by the flags that the
  paper sets; those that ask about the engine are false.

Time and memory are linear in the source. A token is read once; what macros give is paid from a budget of characters in proportion to
the source, and when that is spent macros are dropped and `expansion_stopped` is set. Nothing recurses: groups, environments and
captured arguments are frames on a stack of bounded depth. Groups that never close end with their paragraph or the document.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from pipeline.readers.tables import rows_to_text

Include = Callable[[str], "tuple[str, str] | None"]  # a name as \input has it -> (name of the file, its text)

MAX_INCLUDES = 2_000  # files that one document may read
MAX_INCLUDE_DEPTH = 30
MAX_FRAMES = 200  # captured arguments and environments within each other; deeper ones are plain groups
MAX_MACRO = 20_000  # tokens in a macro's body or argument
MAX_COUNTERS = 200  # theorems' that are numbered within another; LaTeX itself has 256 registers
BUDGET = 200_000  # characters that macros may give, and
BUDGET_RATE = 5  # as many for each character of the source

# Each alternative takes at least one character and none looks far: `\verb` at most 200 ahead. `\0` and `\1` are not in the text (they
# are ours: placeholders for what is put in at the end, and an indenting space).
_TOKEN = re.compile(
    r"\\(?:begin|end)[ \t]*\{[^{}\\\n]{0,64}\}"
    r"|\\verb\*?(?P<mark>[^\sA-Za-z*\\{}])(?:(?!(?P=mark))[^\n]){0,200}(?P=mark)"
    r"|\\(?:url|nolinkurl|path|href)[ \t]{0,9}\{[^{}\n]{0,2000}\}"  # in which `%` and `#` are letters
    r"|\\[A-Za-z@]+\*?(?:[ \t]+(?:\n(?![ \t]*\n)[ \t]*)?|\n(?![ \t]*\n)[ \t]*)?"
    r"|\\(?:.|\n|$)"
    r"|%[^\n]*(?:\n(?![ \t]*\n)[ \t]*)?"
    r"|\n[ \t]*\n\s*"
    r"|\$\$?|[{}&~#\[\]^_]|#"
    r"|(?:[^\\{}$%&~#\[\]^_\n]|\n(?![ \t]*\n))+"
    r"|\n"
)
_RAW = {
    "verbatim", "verbatim*", "Verbatim", "BVerbatim", "lstlisting", "minted", "comment", "filecontents", "filecontents*", "alltt",
}  # fmt: skip
_CODE = _RAW - {"comment", "filecontents", "filecontents*"}

# What is passed over whole.
_DROPPED_ENVIRONMENTS = {
    "acknowledgments", "acknowledgements", "acknowledgment", "acknowledgement", "acks", "tikzpicture", "tikzcd", "pgfpicture", "picture",
    "pspicture", "pspicture*", "thebibliography", "CCSXML", "forest", "asy", "overpic", "feynmandiagram", "fmffile", "axis", "pycode",
    "tabbing*", "psfrags", "circuitikz", "thenomenclature", "references",
}  # fmt: skip
# Floats: their captions and tables are kept.
_PICTURES = {
    "figure", "figure*", "wrapfigure", "SCfigure", "subfigure", "floatingfigure", "sidewaysfigure", "sidewaysfigure*", "marginfigure",
}  # fmt: skip
_FLOATS = {
    "table", "table*", "sidewaystable", "sidewaystable*", "wraptable", "algorithm", "algorithm*", "listing", "deluxetable*",
}  # fmt: skip
_TABLES = {
    "tabular": 1, "tabular*": 2, "tabularx": 2, "tabulary": 2, "longtable": 1, "longtable*": 1, "supertabular": 1, "xltabular": 2,
    "tblr": 1, "longtblr": 1, "deluxetable": 1, "tabbing": 0, "tabu": 1, "longtabu": 1, "xtabular": 1, "NiceTabular": 1,
}  # fmt: skip
_DISPLAYS = {
    "equation": "", "displaymath": "", "math": "", "align": "aligned", "alignat": "aligned", "flalign": "aligned", "eqnarray": "aligned",
    "gather": "gathered", "multline": "gathered", "IEEEeqnarray": "aligned", "dmath": "", "dgroup": "gathered", "xalignat": "aligned",
    "subeqnarray": "aligned", "darray": "aligned",
}  # fmt: skip
_LISTS = {
    "itemize": "-", "enumerate": "1", "description": "", "compactitem": "-", "compactenum": "1", "inparaenum": "1", "asparaenum": "1",
    "asparaitem": "-", "inparaitem": "-", "trivlist": "", "list": "", "compactdesc": "", "labeling": "", "easylist": "-",
}  # fmt: skip
# Mandatory arguments after \begin{NAME} that are not text (optional ones always go).
_ENVIRONMENT_ARGUMENTS = {
    "minipage": 1, "multicols": 1, "list": 2, "wrapfigure": 2, "wraptable": 2, "spacing": 1, "adjustwidth": 2, "adjustbox": 1,
    "textblock": 1, "thebibliography": 1, "alignat": 1, "alignat*": 1, "xalignat": 1, "IEEEeqnarray": 1, "IEEEeqnarray*": 1,
    "subfigure": 1, "labeling": 1, "floatingfigure": 1, "fmffile": 1, "savenotes": 0, "algorithmic": 0,
}  # fmt: skip

_SECTIONS = {
    "part": -1, "chapter": 0, "section": 1, "subsection": 2, "subsubsection": 3, "paragraph": 4, "subparagraph": 5, "chap": 0, "sect": 1,
    "subsect": 2, "heading": 1, "Section": 1, "frametitle": 3,
}  # fmt: skip
_KINDS = {-1: "Part", 0: "Chapter"}

# Commands whose arguments are not text: how many to drop (optional ones always go).
_DROP = {
    "vspace": 1, "hspace": 1, "vskip": 0, "hskip": 0, "includegraphics": 1, "bibliography": 1, "bibliographystyle": 1, "usepackage": 1,
    "documentclass": 1, "documentstyle": 1, "setlength": 2, "addtolength": 2, "setcounter": 2, "addtocounter": 2, "stepcounter": 1,
    "refstepcounter": 1, "pagestyle": 1, "thispagestyle": 1, "pagenumbering": 1, "index": 1, "glossary": 1, "hypersetup": 1, "color": 1,
    "definecolor": 3, "colorlet": 2, "fontsize": 2, "selectfont": 0, "newcounter": 1, "newlength": 1, "settowidth": 2, "hyphenation": 1,
    "numberwithin": 2, "theoremstyle": 1, "newtheoremstyle": 9, "markboth": 2, "markright": 1, "addcontentsline": 3, "epsfig": 1,
    "epsfbox": 1, "psfig": 1, "graphicspath": 1, "DeclareGraphicsExtensions": 1, "linespread": 1, "address": 1, "affiliation": 1,
    "email": 1, "author": 1, "authors": 1, "date": 1, "institute": 1, "affil": 1, "thanks": 1, "altaffiliation": 1, "altaffilmark": 1,
    "altaffiltext": 2, "pacs": 1, "inst": 1, "orcid": 1, "authorrunning": 1, "titlerunning": 1, "runninghead": 2, "tocauthor": 1,
    "toctitle": 1, "preprint": 1, "received": 1, "accepted": 1, "revised": 1, "published": 1, "curraddr": 1, "subjclass": 1, "nocite": 1,
    "phantom": 1, "hphantom": 1, "vphantom": 1, "rule": 2, "input@path": 1, "PassOptionsToPackage": 2, "RequirePackage": 1,
    "ProvidesPackage": 1, "ProvidesClass": 1, "LoadClass": 1, "AtBeginDocument": 1, "captionsetup": 1, "sisetup": 1, "lstset": 1,
    "usetikzlibrary": 1, "tikzset": 1, "pgfplotsset": 1, "tikz": 1, "IEEEauthorblockN": 1, "IEEEauthorblockA": 1,
    "IEEEoverridecommandlockouts": 0, "IEEEpubid": 1, "acmConference": 3, "acmDOI": 1, "acmISBN": 1, "acmYear": 1, "copyrightyear": 1,
    "setcopyright": 1, "ccsdesc": 1, "acmJournal": 1, "acmVolume": 1, "acmNumber": 1, "acmArticle": 1, "acmMonth": 1, "icmlauthor": 2,
    "icmlaffiliation": 2, "icmlcorrespondingauthor": 2, "icmlsetsymbol": 2, "printAffiliationsAndNotice": 1, "todo": 1, "marginpar": 1,
    "hbadness": 0, "cline": 1, "cmidrule": 1, "rowcolor": 1, "cellcolor": 1, "columncolor": 1, "arraybackslash": 0, "renewbibmacro": 2,
    "addbibresource": 1, "printbibliography": 0, "bibitem": 1, "allowdisplaybreaks": 0, "hyphenpenalty": 0, "titleformat": 5,
    "titlespacing": 4, "DeclarePairedDelimiter": 3, "shorttitle": 1, "shortauthors": 1, "slugcomment": 1, "noaffiliation": 0,
    "collaboration": 1, "homepage": 1, "corref": 1, "cortext": 1, "fntext": 1, "ead": 1, "tnotetext": 1, "tnoteref": 1, "fnref": 1,
    "offprints": 1, "mail": 1, "dedicatory": 1, "keywordname": 0, "journalname": 1, "volume": 1, "doi": 1, "CorrespondingAuthor": 1,
    "phantomsection": 0, "enlargethispage": 1, "vadjust": 1, "special": 1, "write": 1, "typeout": 1, "message": 1, "newif": 0,
    "bibfont": 0, "DeclareUnicodeCharacter": 2, "newglossaryentry": 2, "newacronym": 3, "makeatletter": 0, "crefname": 3, "Crefname": 3,
    "urlstyle": 1, "setmainfont": 1, "geometry": 1, "newgeometry": 1, "externaldocument": 1, "bookmarksetup": 1, "intertext": 0,
    "lefthead": 1, "righthead": 1, "newsavebox": 1, "savebox": 2, "sbox": 2, "usebox": 1, "cpyear": 1, "vglue": 0, "hfuzz": 0,
    "etocsettocstyle": 2, "extrarowheight": 0,
}  # fmt: skip
# Commands whose first arguments are not text, and the last one is: how many to drop before it.
_LEADING = {
    "textcolor": 1, "href": 1, "multicolumn": 2, "multirow": 2, "parbox": 1, "resizebox": 2, "scalebox": 1, "raisebox": 1,
    "rotatebox": 1, "texorpdfstring": 1, "foreignlanguage": 1, "colorbox": 1, "fcolorbox": 2, "makebox": 0, "framebox": 0, "hyperref": 0,
    "hyperlink": 1, "hypertarget": 1, "selectlanguage": 1, "adjincludegraphics": 1, "shortstack": 0, "hyperdef": 2, "pdfbookmark": 2,
    "subfloat": 0, "captionof": 1, "subcaptionbox": 0, "bicaption": 0, "textlang": 1, "uline": 0, "text": 0, "mathchoice": 0,
}  # fmt: skip
_CITES = {
    "cite", "citep", "citet", "citealt", "citealp", "citeauthor", "citeyear", "citeyearpar", "parencite", "textcite", "autocite",
    "footcite", "citenum", "onlinecite", "Cite", "Citet", "Citep", "citeA", "citeN", "shortcite", "citeasnoun", "supercite", "smartcite",
    "fullcite", "cites", "parencites", "citetext", "citealtt", "Textcite", "Parencite", "citefull", "refcite", "cref@cite", "bibcite",
    "newcite", "citeyearNP",
}  # fmt: skip
_REFS = {
    "ref", "eqref", "pageref", "cref", "Cref", "autoref", "vref", "nameref", "subref", "Ref", "Eqref", "labelcref", "thmref", "figref",
    "secref", "tabref", "lemref", "prettyref", "fref", "Fref", "zcref",
}  # fmt: skip
_NAMED_REFS = {"cref", "Cref", "autoref", "vref", "prettyref", "fref", "Fref", "zcref"}
_ACCENTS = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", '"': "\u0308", "H": "\u030b", "c": "\u0327", "k": "\u0328",
    "=": "\u0304", "b": "\u0331", ".": "\u0307", "d": "\u0323", "r": "\u030a", "u": "\u0306", "v": "\u030c", "t": "\u0361",
    "G": "\u030f", "U": "\u030e",
}  # fmt: skip
_SYMBOLS = {
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
# Letters that papers give other meanings, as `\c` for a calligraphic c: here the author's definition wins.
_REDEFINABLE = (
    set(_ACCENTS) | {name for name in _SYMBOLS if len(name) <= 2} | {"text", "dash", "star", "square", "Box", "bullet", "degree", "micro"}
)
_CHARS = {
    "%": "%", "&": "&", "$": "$", "#": "#", "_": "_", "{": "{", "}": "}", " ": " ", "\n": " ", "\t": " ", ",": " ", ";": " ", ":": " ",
    ">": " ", "!": "", "-": "", "/": "", "@": "", "*": "", "+": "", "<": "", "": " ", "|": "|",
}  # fmt: skip
_LIGATURES = (("---", "—"), ("--", "–"), ("``", "“"), ("''", "”"), ("?`", "¿"), ("!`", "¡"), ("`", "‘"), ("'", "’"))
_LIGATURE = re.compile(r"--|[`']")
_DEFINERS = {"newcommand", "renewcommand", "providecommand", "DeclareRobustCommand", "newrobustcmd", "renewrobustcmd"}
_XPARSE = {"NewDocumentCommand", "RenewDocumentCommand", "ProvideDocumentCommand", "DeclareDocumentCommand", "NewExpandableDocumentCommand"}
_PREFIXES = {
    "long", "global", "protected", "outer", "expandafter", "protect", "noexpand", "leavevmode", "unskip", "relax", "ignorespaces",
    "makeatother", "allowbreak", "nobreak", "displaystyle", "textstyle", "maketitle",
}  # fmt: skip
_BOOLEANS = re.compile(r"if[A-Za-z@]*\Z")
_NOT_CONDITIONALS = {
    "iff", "ifthenelse", "ifstrempty", "ifblank", "ifdef", "ifundef", "ifcsdef", "ifcsundef", "ifstrequal", "ifpackageloaded", "ifbool",
    "iftoggle", "ifnumcomp", "ifthispageodd", "ifboolexpr", "ifstar",
}  # fmt: skip
_MATH_GONE = {
    "nonumber", "notag", "allowdisplaybreaks", "displaybreak", "xspace", "relax", "protect", "ensuremath", "unskip", "qedhere",
    "noindent", "leavevmode", "allowbreak", "nobreak", "ignorespaces",
}  # fmt: skip
_PLACEHOLDER = re.compile("\0([RL])(\\d+)\0")
_TABLE_RULES = {
    "hline", "toprule", "midrule", "bottomrule", "endhead", "endfirsthead", "endfoot", "endlastfoot", "firsthline", "lasthline",
    "startdata", "enddata", "tableline", "specialrule", "addlinespace", "Xhline", "colrule", "botrule",
}  # fmt: skip


@dataclass
class Document:
    """A paper as text; its title is that of its first heading where it has none. `expansion_stopped`: its macros gave more than the
    budget allows, and the rest of them were dropped."""

    title: str
    text: str
    expansion_stopped: bool = False


@dataclass
class _Macro:
    parameters: list[str]  # for each: "" undelimited, else the text that ends it; xparse's optional ones "o", star "s"
    body: list[str]
    default: list[str] | None = None  # of a first, optional parameter
    prefix: str = ""  # text that must follow the name
    kinds: str = ""  # xparse: one letter a parameter
    cost: int = 0


@dataclass
class _Frame:
    kind: str
    name: str
    braces: int  # open at its begin
    buffer: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    ordered: int = 0
    close: Callable[[str], None] | None = None


class _Source:
    """A file's tokens, in order, a few thousand at a time; raw environments are one token that begins with \\0."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.stack: list[str] = []  # the next token is the last; expansions are pushed here
        self._tokens = _tokens(text)

    def refill(self) -> bool:
        self.stack.extend(islice(self._tokens, 2048))
        self.stack.reverse()
        return bool(self.stack)


def _tokens(text: str) -> Iterator[str]:
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").replace("\1", "").replace("\2", "")
    if not any(f"{{{name}}}" in text for name in _RAW):
        yield from (match.group() for match in _TOKEN.finditer(text))
        return
    position, gone = 0, set()
    while position < len(text):
        for match in _TOKEN.finditer(text, position):
            token = match.group()
            yield token
            if token.startswith("\\begin") and token[-1] == "}":
                name = _environment(token)
                if name in _RAW and name not in gone:
                    begin = match.end()
                    end = text.find(f"\\end{{{name}}}", begin)
                    if end < 0:
                        gone.add(name)  # looked for once, so that a million begins cost one search
                        continue
                    yield "\0" + text[begin:end]
                    position = end
                    break
        else:
            return


def _environment(token: str) -> str:
    return token[token.index("{") + 1 : -1].strip()


def _words(parts: list[str]) -> str:
    return " ".join("".join(parts).split())


class _Converter:
    """The engine's state. One document, one converter."""

    def __init__(self, include: Include | None, source_characters: int) -> None:
        self.include = include
        self.budget = BUDGET + BUDGET_RATE * source_characters
        self.stopped = False
        self.sources: list[_Source] = []
        self.tokens: list[str] = []  # of the innermost source
        self.includes = 0
        self.seen: set[str] = set()
        self.macros: dict[str, _Macro] = {}
        self.plain: dict[str, str] = {}  # commands of mathematics that were seen to have no meaning here, as they are printed
        self.environments: dict[str, tuple[_Macro, list[str]]] = {}
        self.theorems: dict[str, tuple[str, str | None]] = {}  # environment -> printed name, counter
        self.within: dict[str, str] = {}  # counter -> the counter that resets it
        self.flags: dict[str, bool] = {"true": True, "false": False}
        self.frames = [_Frame("base", "", 0)]
        self.out = self.frames[0].buffer
        self.open: dict[str, int] = {}
        self.braces: list[_Frame | None] = []
        self.math: str | None = None  # the name of the display, "$", "$$" or "{" (\ensuremath); None in text
        self.math_depth = 0
        self.math_before: list[str] = []
        self.counters: dict[str, int] = {}
        self.label_number = ("", "")
        self.labels: dict[str, tuple[str, str]] = {}
        self.wanted: list[tuple[str, str]] = []
        self.raws: list[str] = []
        self.cites: dict[str, int] = {}
        self.notes: list[str] = []
        self.title = ""
        self.first_heading = ""
        self.conditionals = 0
        self.appendix = False
        self.done = False
        self.has_chapters = False
        self.body = False
        self.early = ""  # an abstract that the preamble gives

    # --- tokens --------------------------------------------------------------------------------------------------------

    def push_source(self, name: str, text: str) -> None:
        source = _Source(name, text)
        self.sources.append(source)
        self.tokens = source.stack

    def next(self) -> str | None:
        while not self.tokens:
            if not self.sources:
                return None
            if self.sources[-1].refill():
                break
            self.sources.pop()
            self.tokens = self.sources[-1].stack if self.sources else []
        return self.tokens.pop()

    def peek(self) -> str | None:
        token = self.next()
        if token is not None:
            self.tokens.append(token)
        return token

    def skip_space(self) -> None:
        """Past spaces, one line's end and comments; not past a blank line."""
        while (token := self.next()) is not None:
            if token[0] == "%":
                continue
            stripped = token.lstrip(" \t\n") if token[0] in " \t\n" and token.count("\n") < 2 else token
            if stripped:
                self.tokens.append(stripped)
                return

    def argument(self, *, long: bool = False) -> list[str]:
        """The next argument's tokens, without its braces. One that is not `long` ends at a blank line, as TeX would complain."""
        self.skip_space()
        token = self.next()
        if token is None:
            return []
        if token != "{":
            if token == "}" or token.startswith(("\n\n", "\\end")):
                self.tokens.append(token)
                return []
            if token[0] not in "\\$&~#[]^_\0" and len(token) > 1:  # a run of text: its first character
                self.tokens.append(token[1:])
                return [token[0]]
            return [token]
        depth, taken = 1, []
        while (token := self.next()) is not None:
            if token == "{":
                depth += 1
            elif token == "}":
                depth -= 1
                if not depth:
                    break
            elif not long and token[0] == "\n" and token.count("\n") > 1:
                self.tokens.append(token)
                break
            if token[0] != "%":
                taken.append(token)
            if len(taken) > MAX_MACRO:
                break
        return taken

    def optional(self) -> list[str] | None:
        """An optional argument's tokens, or None."""
        self.skip_space()
        if not self.tokens or self.tokens[-1] != "[":
            return None
        self.tokens.pop()
        depth, taken = 0, []
        while (token := self.next()) is not None:
            if token == "]" and depth <= 0:
                break
            if token == "{":
                depth += 1
            elif token == "}":
                depth -= 1
                if depth < 0:
                    self.tokens.append(token)
                    break
            elif token[0] == "\n" and token.count("\n") > 1:
                self.tokens.append(token)
                break
            if token[0] != "%":
                taken.append(token)
            if len(taken) > MAX_MACRO:
                break
        return taken

    def push(self, tokens: list[str]) -> None:
        """Tokens to read next, paid for: what was read may be read again only so often."""
        if self.pay(sum(map(len, tokens)) + 1):
            self.tokens.extend(reversed(tokens))

    def pay(self, characters: int) -> bool:
        self.budget -= characters
        if self.budget < 0:
            self.stopped = True
        return not self.stopped

    # --- macros --------------------------------------------------------------------------------------------------------

    def _name(self) -> str | None:
        """The control sequence being defined: `\\x` or `{\\x}`."""
        tokens = self.argument()
        for token in tokens:
            if token[0] == "\\" and len(token) > 1:
                return token[1:].rstrip() or " "
        return None

    def define(self, name: str | None, macro: _Macro, *, replace: bool = True) -> None:
        if name is None or (name in _KNOWN and name not in _REDEFINABLE):
            return
        if not replace and name in self.macros:
            return
        macro.cost = sum(map(len, macro.body)) + 1
        if len(self.macros) < 100_000:
            self.macros[name] = macro
            self.plain.clear()

    def newcommand(self, command: str) -> None:
        name = self._name()
        count = "".join(self.optional() or []).strip()
        default = self.optional()
        number = min(int(count), 9) if count.isdecimal() and count.isascii() else 0
        body = self.argument(long=True)
        self.define(name, _Macro([""] * number, body, default), replace=command != "providecommand")

    def definition(self) -> None:
        """\\def: the parameter text up to the body."""
        name = self._name()
        text: list[str] = []
        while (token := self.next()) is not None:
            if token == "{" or len(text) > 60 or (token[0] == "\n" and token.count("\n") > 1):
                break
            if token[0] != "%":
                text.append(token)
        if token != "{":
            return
        self.tokens.append(token)
        body = self.argument(long=True)
        parts = re.split(r"#([1-9])", "".join(text))
        self.define(name, _Macro(parts[2::2], body, prefix=parts[0].strip()))

    def let(self) -> None:
        name = self._name()
        self.skip_space()
        if self.tokens and self.tokens[-1].startswith("="):
            rest = self.tokens.pop()[1:]
            if rest.strip():
                self.tokens.append(rest)
            self.skip_space()
        target = self.next()
        if name is None or target is None or target[0] in "{}":
            return
        known = self.macros.get(target[1:].rstrip()) if target[0] == "\\" else None
        if known is not None:
            self.define(name, _Macro(known.parameters, known.body, known.default, known.prefix, known.kinds))
        elif target.strip() != "\\" + name:
            self.define(name, _Macro([], [target]))

    def xparse(self) -> None:
        name = self._name()
        kinds, default = "", None
        spec = self.argument()
        depth = 0
        for character in "".join(spec):
            depth += (character == "{") - (character == "}")
            if not depth and character in "mosODdgGrRtv":
                kinds += character
        self.define(name, _Macro([""] * min(len(kinds), 9), self.argument(long=True), default, kinds=kinds[:9]))

    def expand(self, macro: _Macro, token: str) -> None:
        if not self.pay(macro.cost):
            return
        if macro.prefix:
            self.skip_space()
            following = self.peek() or ""
            if following.startswith(macro.prefix):
                self.tokens.pop()
                if following[len(macro.prefix) :]:
                    self.tokens.append(following[len(macro.prefix) :])
        given: list[list[str]] = []
        for index, delimiter in enumerate(macro.parameters):
            kind = macro.kinds[index] if macro.kinds else ""
            if kind == "s" or kind == "t":
                given.append([] if not token.rstrip().endswith("*") else ["*"])
            elif kind in ("o", "O", "d", "D", "g", "G") and kind:
                given.append(self.optional() or [])
            elif index == 0 and macro.default is not None:
                found = self.optional()
                given.append(macro.default if found is None else found)
            elif delimiter.strip():
                given.append(self._delimited(delimiter.strip()))
            else:
                given.append(self.argument(long=True))
        if not given:
            body = macro.body
        else:
            body = []
            tokens = iter(macro.body)
            for part in tokens:
                if part != "#":
                    body.append(part)
                    continue
                number = next(tokens, "")
                if number == "#":  # a parameter of a definition within
                    body.append("#")
                    continue
                if number[:1].isdecimal() and 0 < int(number[0]) <= len(given):
                    argument = given[int(number[0]) - 1]
                    if not self.pay(sum(map(len, argument)) + 1):
                        return
                    body.extend(argument)
                    number = number[1:]
                if number:
                    body.append(number)
        if token[-1:].isspace() and body and body[-1].rstrip() == "\\xspace":
            self.tokens.append(" ")
        self.tokens.extend(reversed(body))

    def _delimited(self, delimiter: str) -> list[str]:
        """An argument that ends at a delimiter within a token or as one."""
        taken: list[str] = []
        depth = 0
        while (token := self.next()) is not None:
            if not depth and delimiter in token:
                before, _, after = token.partition(delimiter)
                if before:
                    taken.append(before)
                if after:
                    self.tokens.append(after)
                break
            depth += (token == "{") - (token == "}")
            if depth < 0 or len(taken) > MAX_MACRO or (token[0] == "\n" and token.count("\n") > 1):
                self.tokens.append(token)
                break
            taken.append(token)
        return taken

    # --- output --------------------------------------------------------------------------------------------------------

    def block(self) -> None:
        self.out.append("\n\n")

    def raw(self, text: str) -> str:
        self.raws.append(text)
        return f"\0R{len(self.raws) - 1}\0"

    def enter(self, kind: str, name: str, close: Callable[[str], None] | None = None) -> _Frame | None:
        """A frame with a buffer of its own, whose text `close` gets; None where frames are too deep for that."""
        if len(self.frames) >= MAX_FRAMES:
            return None
        frame = _Frame(kind, name, len(self.braces), close=close)
        self.frames.append(frame)
        self.out = frame.buffer
        if kind == "environment":
            self.open[name] = self.open.get(name, 0) + 1
        return frame

    def leave(self) -> None:
        frame = self.frames.pop()
        self.out = self.frames[-1].buffer
        del self.braces[frame.braces :]
        if frame.kind == "environment":
            self.open[frame.name] -= 1
        if frame.close:
            frame.close("".join(frame.buffer))

    def capture(self, close: Callable[[str], None]) -> None:
        """The next argument's text goes to `close`, not to the page."""
        self.skip_space()
        token = self.next()
        if token is None:
            return
        if token != "{":
            self.tokens.append(token)
            frame = self.enter("capture", "", close)
            if frame is not None:  # an argument without braces: one token
                self.braces.append(frame)
                argument = self.argument()
                self.push([*argument, "}"])
            return
        frame = self.enter("capture", "", close)
        self.braces.append(frame)

    def close_brace(self) -> None:
        if not self.braces:
            return
        frame = self.braces.pop()
        if frame is None:
            return
        if frame not in self.frames[-MAX_FRAMES:]:
            return
        while self.frames[-1] is not frame:
            self.leave()
        self.leave()

    def paragraph(self) -> None:
        for index in range(len(self.frames) - 1, 0, -1):  # a capture that goes over a blank line was never closed
            if self.frames[index].kind == "capture" and self.frames[index].name == "short":
                while len(self.frames) > index:
                    self.leave()
        self.out.append("\n\n")
        if self.notes and self.frames[-1].kind != "capture" and not self.open.get("\0muted"):
            for note in self.notes:
                self.out.append(note + "\n\n")
            self.notes = []

    # --- counters and labels -------------------------------------------------------------------------------------------

    def step(self, counter: str, kind: str) -> str:
        self.counters[counter] = self.counters.get(counter, 0) + 1
        for other, parent in self.within.items():
            if parent == counter:
                self.counters[other] = 0
        number = self.number(counter)
        self.label_number = (kind, number)
        return number

    def number(self, counter: str) -> str:
        """A counter's value as LaTeX prints it: with those that it is numbered within before it."""
        parts: list[str] = []
        name: str | None = counter
        while name and len(parts) < 8:
            value = self.counters.get(name, 0)
            level = _SECTIONS.get(name, 9)
            top = level == (0 if self.has_chapters else 1)
            parts.append(chr(64 + value) if self.appendix and top and 0 < value <= 26 else str(value))
            if level <= 1 and top:
                break
            name = self.within.get(name)
        return ".".join(reversed(parts))

    def label(self, name: str) -> None:
        if name not in self.labels and len(self.labels) < 1_000_000:
            self.labels[name] = self.label_number

    def section(self, name: str, starred: bool) -> None:
        level = _SECTIONS[name]
        self.close_floats()
        self.optional()
        if level == 0:
            self.has_chapters = True
        kind = _KINDS.get(level, "Section")
        if not starred and level <= 3:
            order = ["part", "chapter", "section", "subsection", "subsubsection"]
            counter = order[level + 1]
            for lower in order[level + 2 :]:
                if level >= 0:
                    self.counters[lower] = 0
            for other, parent in self.within.items():
                if parent in order[level + 1 :] and other not in order:
                    self.counters[other] = 0
            if level == 0 or (level == 1 and not self.has_chapters):
                for other in ("equation", "figure", "table"):
                    if self.has_chapters:
                        self.counters[other] = 0
            self.counters[counter] = self.counters.get(counter, 0) + 1
            names = order[1 if self.has_chapters else 2 : level + 2] if level >= 0 else ["part"]
            values = [self.counters.get(each, 0) for each in names]
            texts = [str(value) for value in values]
            if self.appendix and values and 0 < values[0] <= 26:
                texts[0] = chr(64 + values[0])
            self.label_number = ("Appendix" if self.appendix else kind, ".".join(texts))

        def close(text: str) -> None:
            heading = " ".join(text.split())
            if not heading:
                return
            self.first_heading = self.first_heading or heading
            if level >= 4:
                self.out.append(f"\n\n{heading}{'' if heading[-1] in '.:?!' else '.'} ")
            else:
                self.out.append(f"\n\n{heading}\n\n")

        self.paragraph()
        self.capture_short(close)

    def capture_short(self, close: Callable[[str], None]) -> None:
        before = len(self.frames)
        self.capture(close)
        if len(self.frames) > before:
            self.frames[-1].name = "short"

    def close_floats(self) -> None:
        """Figures and tables that were never ended would hide the rest of the paper."""
        while len(self.frames) > 1 and self.open.get("\0muted", 0) > 0:
            if any(frame.kind == "environment" and frame.name == "\0preamble" for frame in self.frames):
                return
            self.leave()

    # --- environments --------------------------------------------------------------------------------------------------

    def begin(self, name: str) -> None:
        if name in self.environments:
            before, _after = self.environments[name]
            frame = self.enter("environment", name, self.out.append)
            if frame is None:
                return
            self.expand(before, "")
            return
        bare = name.rstrip("*")
        if name in _RAW:
            token = self.peek()
            if token is not None and token[0] == "\0":
                self.tokens.pop()
                if name in _CODE:
                    self.code(name, token[1:])
            return
        if name in _DROPPED_ENVIRONMENTS:
            self.skip_environment(name)
            return
        if bare in _DISPLAYS:
            for _ in range(_ENVIRONMENT_ARGUMENTS.get(name, 0)):
                self.argument()
            self.begin_math(name)
            return
        if name == "document":
            self.begin_document()
            return
        if name == "abstract":
            self.paragraph()
            self.out.append("Abstract\n\n")
            self.enter("environment", name, self.out.append)
            return
        if name in _TABLES:
            self.optional()
            for _ in range(_TABLES[name]):
                self.argument()
            self.optional()
            out = self.out
            self.block()
            self.enter("environment", name, lambda text: out.append(self.table(text)))
            return
        if name in _LISTS:
            self.optional()
            for _ in range(_ENVIRONMENT_ARGUMENTS.get(name, 0)):
                self.argument()
            out = self.out
            nested = any(frame.name in _LISTS for frame in self.frames)
            blank = "\n" if nested else "\n\n"
            self.enter("environment", name, lambda text: out.append(blank + text.strip("\n ") + blank))
            return
        if name in _PICTURES or name in _FLOATS:
            self.float(name)
            return
        if name in self.theorems:
            self.theorem(name)
            return
        if name in ("keywords", "keyword", "IEEEkeywords"):
            self.paragraph()
            self.out.append("Keywords: ")
            self.enter("environment", name, self._append_block)
            return
        if name == "proof":
            title = self.optional()
            self.paragraph()
            self.enter("environment", name, lambda text: self.out.append(f"{text}\n\n"))
            self.push([*(title or ["Proof"]), ". "])
            return
        self.optional()
        for _ in range(_ENVIRONMENT_ARGUMENTS.get(name, 0)):
            self.argument()
        self.block()
        self.enter("environment", name, self._append_block)

    def _append_block(self, text: str) -> None:
        self.out.append(text)
        self.out.append("\n\n")

    def end(self, name: str) -> None:
        if name == "document":
            self.done = True
            return
        if not self.open.get(name):
            return
        after: list[str] = []
        if name in self.environments and self.frames[-1].name == name and self.frames[-1].kind == "environment":
            after = self.environments[name][1]
            if after and self.frames[-1].ordered >= 0:
                self.frames[-1].ordered = -1  # its end's tokens come first, then this again
                self.push([*after, f"\\end{{{name}}}"])
                if not self.stopped:
                    return
        while self.frames[-1].name != name or self.frames[-1].kind != "environment":
            self.leave()
        self.leave()

    def begin_document(self) -> None:
        if self.frames[0].buffer and not self.body:
            self.frames[0].buffer.clear()
        self.body = True
        while len(self.frames) > 1:
            frame = self.frames.pop()
            if frame.kind == "environment":
                self.open[frame.name] -= 1
            if frame.kind == "capture" and frame.close:
                frame.close("".join(frame.buffer))
        self.out = self.frames[0].buffer
        self.out.clear()
        self.braces.clear()
        self.notes = []

    def skip_environment(self, name: str) -> None:
        depth = 1
        begin, end = f"\\begin{{{name}}}", f"\\end{{{name}}}"
        while (token := self.next()) is not None:
            if token == begin:
                depth += 1
            elif token == end:
                depth -= 1
                if not depth:
                    return
            elif token == "\\end{document}":
                self.tokens.append(token)
                return

    def code(self, name: str, text: str) -> None:
        text = text.strip("\n") if not text.startswith(("[", "{")) else text
        if name in ("lstlisting", "Verbatim", "minted", "BVerbatim", "alltt"):
            text = re.sub(r"\A\s{0,8}\[[^\]\n]{0,400}\]", "", text)  # options, on the first line
            if name == "minted":
                text = re.sub(r"\A\s{0,8}\{[^}\n]{0,40}\}", "", text)
        lines = [line.rstrip() for line in text.split("\n")]
        body = "\n".join(lines).strip("\n")
        if body:
            self.out.append(f"\n\n{self.raw(body)}\n\n")

    def table(self, text: str) -> str:
        rows = [row.split("\2") for row in text.replace("\n\n", " ").split("\n")]
        body = rows_to_text(rows)
        return f"\n\n{body}\n\n" if body else ""

    def float(self, name: str) -> None:
        self.optional()
        for _ in range(_ENVIRONMENT_ARGUMENTS.get(name, 0)):
            self.argument()
        out = self.out

        def close(text: str) -> None:
            self.open["\0muted"] -= 1
            blocks = frame.kept if frame is not None else []
            if name not in _PICTURES and text.strip():
                blocks = [*blocks, text]
            out.append("\n\n" + "\n\n".join(blocks) + "\n\n")

        frame = self.enter("environment", name, close)
        if frame is not None:
            self.open["\0muted"] = self.open.get("\0muted", 0) + 1

    def caption(self) -> None:
        self.optional()
        holder = next((frame for frame in reversed(self.frames) if frame.kind == "environment" and frame.name in _PICTURES | _FLOATS), None)
        kind = "figure"
        if holder is not None and holder.name in _FLOATS:
            kind = "algorithm" if holder.name.startswith("algorithm") else "listing" if holder.name == "listing" else "table"
        elif holder is None and any(frame.name in _TABLES for frame in self.frames):
            kind = "table"
        if self.has_chapters:
            self.within.setdefault(kind, "chapter")
        number = self.step(kind, kind.capitalize())

        def close(text: str) -> None:
            words = " ".join(text.split())
            if words:
                block = f"{kind.capitalize()} {number}. {words}"
                if holder is not None:
                    holder.kept.append(block)
                else:
                    self.out.append(f"\n\n{block}\n\n")

        self.capture(close)

    def theorem(self, name: str) -> None:
        printed, counter = self.theorems[name]
        note = self.optional()
        self.paragraph()
        number = " " + self.step(counter, printed) if counter else ""
        self.enter("environment", name, self._append_block)
        self.push([printed + number, *([" (", *note, ")"] if note else []), ". "])

    def newtheorem(self, starred: bool) -> None:
        name = _words(self.argument())
        shared = self.optional()
        printed = _words(self.argument())
        parent = self.optional()
        if not name:
            return
        counter: str | None = name
        if starred:
            counter = None
        elif shared is not None:
            other = _words(shared)
            counter = self.theorems.get(other, ("", other))[1]
        elif parent is not None and len(self.within) < MAX_COUNTERS:
            self.within[name] = _words(parent)
        if len(self.theorems) < 10_000:
            self.theorems[name] = (printed, counter)

    def newenvironment(self) -> None:
        name = _words(self.argument())
        count = _words(self.optional() or [])
        default = self.optional()
        number = min(int(count), 9) if count.isdecimal() and count.isascii() else 0
        before, after = self.argument(long=True), self.argument(long=True)
        known = name in _RAW or name in _TABLES or name in _LISTS or name in _DROPPED_ENVIRONMENTS or name in _PICTURES or name in _FLOATS
        if (
            not name
            or known
            or name in ("document", "abstract", "proof")
            or name.rstrip("*") in _DISPLAYS
            or len(self.environments) > 10_000
        ):
            return
        opened = "".join(token for token in before)
        if f"\\begin{{{name}}}" in opened:
            return
        self.environments[name] = (_Macro([""] * number, before, default, cost=sum(map(len, before)) + 1), after)
        self.theorems.pop(name, None)

    def item(self) -> None:
        tag = self.optional()
        holder = next((frame for frame in reversed(self.frames) if frame.kind == "environment" and frame.name in _LISTS), None)
        depth = min(6, sum(1 for frame in self.frames if frame.name in _LISTS and frame.kind == "environment") - 1)
        style = _LISTS[holder.name] if holder is not None else "-"
        out = self.out
        out.append("\n" + "\1\1" * max(0, depth))
        if tag is not None:
            self.skip_space()
            self.push([*tag, " "])
            if style == "":
                out.append("- ")
        elif style == "1" and holder is not None:
            holder.ordered += 1
            self.label_number = ("item", str(holder.ordered))
            out.append(f"{holder.ordered}. ")
        else:
            out.append("- ")

    # --- mathematics ---------------------------------------------------------------------------------------------------

    def begin_math(self, name: str) -> None:
        self.math, self.math_depth, self.math_before = name, 0, self.out
        self.out = []
        if name.rstrip("*") in _DISPLAYS and not name.endswith("*") and name not in ("displaymath", "math"):
            if self.has_chapters:
                self.within.setdefault("equation", "chapter")
            if name in ("align", "eqnarray", "gather", "flalign", "alignat", "IEEEeqnarray"):
                self.label_number = ("Equation", "")
            else:
                self.step("equation", "Equation")

    def end_math(self) -> None:
        name, formula = self.math or "", " ".join("".join(self.out).split(" "))
        self.math, self.out = None, self.math_before
        formula = formula.strip()
        inline = name in ("$", "{", "math", "(")
        if inline:
            formula = " ".join(formula.split())
            if formula:
                self.out.append(self.raw(f"${formula}$") if "'" in formula or "`" in formula else f"${formula}$")
            return
        formula = re.sub(r"[ \t]{0,9}\n\s*", "\n", formula)
        formula = re.sub(r"(?:\\\\\s{0,9})+\Z", "", formula[-200:]).join([formula[:-200], ""]) if formula.endswith("\\\\") else formula
        if not formula.strip():
            return
        inner = _DISPLAYS.get(name.rstrip("*"), "")
        formula = f"\\begin{{{inner}}}\n{formula.strip()}\n\\end{{{inner}}}" if inner else formula.strip()
        self.out.append(f"\n{self.raw(f'$${formula}$$')}\n")

    def math_token(self, token: str) -> None:
        """One token within mathematics."""
        first = token[0]
        out = self.out
        if first == "\\":
            name = token[1:].rstrip()
            if token.startswith(("\\begin", "\\end")) and token[-1] == "}":
                environment = _environment(token)
                if token[1] == "e":
                    if environment == self.math:
                        self.end_math()
                        return
                    if environment == "document":
                        self.end_math()
                        self.done = True
                        return
                    if environment in self.environments and self.open.get(environment):
                        frame = self.frames[-1]
                        if frame.name == environment and frame.ordered >= 0 and not self.stopped:
                            frame.ordered = -1  # its end's tokens come first, which end the display
                            self.push([*self.environments[environment][1], token])
                            return
                        self.end_math()
                        self.tokens.append(token)
                        return
                elif environment in self.environments:
                    self.expand(self.environments[environment][0], "")
                    return
                out.append(token)
                return
            if len(token) == 2 and token[1] in "])" and self.math in ("[", "(") and (token[1] == "]") == (self.math == "["):
                self.end_math()
                return
            macro = self.macros.get(name)
            if macro is not None:
                if not self.stopped:
                    self.expand(macro, token)
                return
            if name in _MATH_GONE:
                return
            if name == "label":
                self.equation_label()
                return
            if name == "tag" or name == "tag*":
                self.label_number = ("Equation", _words(self.argument()))
                return
            if name in _REFS or name == "eqref":
                out.append(self.reference(name))
                return
            if name in _CITES:
                out.append(self.citation())
                return
            if name == "vspace" or name == "vspace*" or name == "hspace" or name == "hspace*" or name == "color":
                self.argument()
                return
            if name in _CONTROL:
                _CONTROL[name](self, name)
                return
            if name.startswith("if") and self.conditional(name):
                return
            if name == "else" or name == "fi":
                self.other_branch(name)
                return
            if name in ("chapter", "section", "subsection", "section*", "subsection*"):
                self.end_math()
                self.tokens.append(token)
                return
            if name == "\\":
                self.optional_length()
                out.append("\\\\\n" if self.math not in ("$", "(", "{") else "\\\\ ")
                return
            if name[:1].isalpha():
                if name in ("text", "mbox", "textrm", "textit", "textbf", "mathrm", "operatorname", "hbox"):
                    out.append(token.rstrip())
                    return
                word = "\\" + name + (" " if token[-1].isspace() else "")
                if len(self.plain) < 100_000:
                    self.plain[token] = word
                out.append(word)
                self.separate()
            else:
                out.append(token if name else "\\ ")
            return
        if first == "{":
            self.math_depth += 1
        elif first == "}":
            self.math_depth -= 1
            if self.math_depth < 0:
                own = self.math == "{"  # \ensuremath's
                self.end_math()
                if not own:
                    self.tokens.append(token)
                return
        elif first == "$":
            inline = self.math == "$"
            if self.math_depth <= 0 and (inline or self.math == token):
                self.end_math()
                if inline and token == "$$":  # the end of one formula and the begin of another
                    self.tokens.append("$")
                return
            if self.math_depth <= 0 and self.math in ("$$", "(", "{"):  # never closed; within others, `$` is some package's
                self.end_math()
                return
        elif first == "%" or first == "\0":
            return
        elif first == "\n" and token.count("\n") > 1:
            if self.math in ("$", "(", "$$", "[", "{"):
                self.end_math()
                self.tokens.append(token)
                return
            token = "\n"
        out.append(token)

    def separate(self) -> None:
        """A space after a control word where a letter would follow it directly, as it does after an expansion."""
        if self.tokens and self.out[-1][-1] != " " and self.tokens[-1][:1].isalpha():
            self.out.append(" ")

    def equation_label(self) -> None:
        name = _words(self.argument())
        if self.label_number == ("Equation", ""):
            self.step("equation", "Equation")
            self.label(name)
            self.label_number = ("Equation", "")
        else:
            self.label(name)

    def optional_length(self) -> None:
        """The `[2pt]` after `\\\\`; one that is no length stays, since authors begin lines with brackets."""
        if self.tokens and self.tokens[-1] == "[":
            tail = "".join(reversed(self.tokens[-3:]))
            if re.match(r"\[\s{0,4}-?[0-9.]{1,8}\s{0,4}\\?[a-z]{2,12}\s{0,4}\]", tail):
                self.optional()

    # --- conditionals --------------------------------------------------------------------------------------------------

    def conditional(self, name: str) -> bool:
        """Takes a conditional's branch. False where this is none."""
        if name in _NOT_CONDITIONALS or not _BOOLEANS.match(name):
            return False
        flag = self.flags.get(name[2:])
        if name == "ifmmode":
            flag = self.math is not None
        if flag:
            self.conditionals += 1
        else:
            self.skip_branch(stop_at_else=True)
        return True

    def skip_branch(self, *, stop_at_else: bool) -> None:
        depth = 0
        while (token := self.next()) is not None:
            if token[0] != "\\":
                continue
            name = token[1:].rstrip()
            if name == "fi":
                if not depth:
                    return
                depth -= 1
            elif name == "else" and not depth and stop_at_else:
                self.conditionals += 1
                return
            elif name == "or" or name == "newif":
                if name == "newif":
                    self.next()
            elif name.startswith("if") and name not in _NOT_CONDITIONALS and _BOOLEANS.match(name):
                depth += 1

    def other_branch(self, name: str) -> None:
        if self.conditionals:
            self.conditionals -= 1
            if name == "else":
                self.skip_branch(stop_at_else=False)

    # --- references ----------------------------------------------------------------------------------------------------

    def citation(self) -> str:
        first = self.optional()
        second = self.optional() if first is not None else None
        keys = [key.strip() for key in "".join(self.argument()).split(",")]
        numbers = sorted({self.cites.setdefault(key, len(self.cites) + 1) for key in keys if key})
        note = _words(second if second is not None else first or [])
        if note and ("\\" in note or "{" in note or "$" in note or len(note) > 60):
            note = ""
        marks = ", ".join(map(str, numbers)) + (f", {note}" if note else "")
        return f"[{marks}]" if numbers else ""

    def reference(self, name: str) -> str:
        while self.optional() is not None:
            pass
        key = _words(self.argument())
        if name == "hyperref":
            return ""
        self.wanted.append((name, key))
        return f"\0L{len(self.wanted) - 1}\0"

    def resolved(self, index: int) -> str:
        name, keys = self.wanted[index]
        texts = []
        for key in keys.split(","):
            kind, number = self.labels.get(key.strip(), ("", ""))
            if number:
                if name == "eqref":
                    number = f"({number})"
                elif name in _NAMED_REFS and kind:
                    number = f"{kind} {number}"
                texts.append(number)
        return ", ".join(texts)

    # --- the loop ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        while not self.done:
            token = self.tokens.pop() if self.tokens else self.next()
            if token is None:
                break
            if self.math is not None:
                if token[0] not in "\\{}$%\0\n":
                    self.out.append(token)
                    continue
                plain = self.plain.get(token)
                if plain is not None:  # a command that stands for itself
                    self.out.append(plain)
                    if self.tokens and plain[-1] != " " and self.tokens[-1][0].isalpha():
                        self.out.append(" ")
                    continue
                self.math_token(token)
                continue
            first = token[0]
            if first == "\\":
                self.command(token)
            elif first == "{":
                self.braces.append(None)
            elif first == "}":
                self.close_brace()
            elif first == "$":
                self.begin_math(token)
            elif first == "%":
                continue
            elif first == "~":
                self.out.append(" ")
            elif first == "&":
                self.out.append("\2" if self.frames[-1].name in _TABLES else " ")
            elif first == "#":
                continue
            elif first == "\n" and token.count("\n") > 1 and not token.strip():
                self.paragraph()
            elif first == "\0":
                continue
            else:
                token = token.replace("\n", " ")
                if _LIGATURE.search(token):
                    for before, after in _LIGATURES:
                        token = token.replace(before, after)
                self.out.append(token)
        if self.math is not None:
            self.end_math()
        while len(self.frames) > 1:
            self.leave()
        self.paragraph()

    def command(self, token: str) -> None:
        if token[-1] == "}" and token.startswith(("\\begin", "\\end")):
            name = _environment(token)
            if token[1] == "b":
                self.begin(name)
            else:
                self.end(name)
            return
        if token[-1] == "}" and len(token) > 2:  # an address
            if not token.startswith("\\href"):
                address = token[token.index("{") + 1 : -1].strip()
                self.out.append(self.raw(re.sub(r"\\([%_#~&])", r"\1", address)))
            return
        name = token[1:].rstrip()
        if token.startswith("\\verb") and len(token) > 6 and not name.rstrip("*").isalpha():
            body = token[6:] if token[5] != "*" else token[7:]
            self.out.append(self.raw(body[:-1]))
            return
        macro = self.macros.get(name)
        if macro is not None:
            if not self.stopped:
                self.expand(macro, token)
            return
        handler = _CONTROL.get(name)
        if handler is not None:
            handler(self, name)
            return
        starred = name.endswith("*") and len(name) > 1
        bare = name[:-1] if starred else name
        if starred and (macro := self.macros.get(bare)) is not None:
            if not self.stopped:
                if not macro.kinds.startswith("s"):
                    self.tokens.append("*")
                self.expand(macro, token)
            return
        if not name or (not name[0].isalpha() and name[0] != "@"):
            self.character(name)
            return
        if bare in _SECTIONS:
            self.section(bare, starred)
        elif bare in _CITES:
            self.out.append(self.citation())
        elif bare in _REFS:
            self.out.append(self.reference(bare))
        elif bare in _ACCENTS:
            self.accent(_ACCENTS[bare])
        elif bare in _SYMBOLS:
            text = _SYMBOLS[bare]
            if text == "\n\n":
                self.paragraph()
            else:
                self.out.append(text)
        elif bare in _DROP:
            self.drop(bare)
        elif bare in _LEADING:
            self.optional()
            for _ in range(_LEADING[bare]):
                self.argument()
                self.optional()
        elif bare in _TABLE_RULES:
            self.optional()
        elif bare in _DISPLAYS:  # \equation ... \endequation, as in \csname equation\endcsname
            self.begin_math(bare)
        elif bare in _PREFIXES or (bare.startswith("if") and self.conditional(bare)):
            pass
        elif bare.endswith(("true", "false")) and bare.removesuffix("true").removesuffix("false") in self.flags:
            self.flags[bare.removesuffix("true").removesuffix("false")] = bare.endswith("true")
        elif bare.endswith("label") or bare.startswith("index"):  # papers' own, where their definitions are not at hand
            self.optional()
            self.argument()
        elif bare.endswith("ref") and self.peek() in ("{", "["):
            self.optional()
            self.out.append(self.reference(bare))
        elif "cite" in bare and self.peek() in ("{", "["):
            self.out.append(self.citation())
        else:
            following = self.peek()
            if following == "[":
                self.optional()
            elif following is not None and following[0] == "=" and bare[-4:] in ("skip", "dent", "idth", "eight", "ngth", "alty"):
                self.assignment()

    def assignment(self) -> None:
        """A register's value, as in `\\parskip=3pt plus 1pt`."""
        token = self.next() or ""
        rest = re.sub(
            r"\A\s{0,9}=?\s{0,9}-?[0-9.]{0,9}\s{0,9}(?:pt|em|ex|cm|mm|in|true|sp)?(?:\s{0,9}(?:plus|minus)\s{0,9}[0-9.]{1,9}\w\w){0,2}",
            "",
            token,
        )
        if rest:
            self.tokens.append(rest)

    def drop(self, name: str) -> None:
        if name in ("vskip", "hskip", "vglue", "hfuzz", "hbadness"):
            following = self.peek()
            if following is not None and (following[0].isdigit() or following[0] in "-=."):
                self.assignment()
            return
        count = _DROP[name]
        if name == "cmidrule":
            following = self.peek()
            if following is not None and following.startswith("(") and ")" in following[:12]:
                self.tokens.append(self.tokens.pop().split(")", 1)[1] or " ")
        self.optional()
        for _ in range(count):
            if name in ("author", "address", "affiliation", "AtBeginDocument", "institute", "thanks", "date", "IEEEauthorblockA"):
                self.argument(long=True)
            else:
                self.argument()
            if count > 1 or name == "input@path":
                self.optional()
        if name == "usepackage" or name == "RequirePackage":
            self.optional()

    def character(self, name: str) -> None:
        """A control symbol."""
        if (name in _ACCENTS and name != "=") or (name == "=" and "tabbing" not in self.open):
            self.accent(_ACCENTS[name])
        elif name == "\\":
            self.skip_star()
            self.optional_length()
            self.out.append("\n")
        elif name == "(":
            self.begin_math("(")
        elif name == "[":
            self.begin_math("[")
        elif name in ("]", ")"):
            pass
        else:
            self.out.append(_CHARS.get(name[:1], ""))

    def skip_star(self) -> None:
        if self.tokens and self.tokens[-1].startswith("*"):
            rest = self.tokens.pop()[1:]
            if rest:
                self.tokens.append(rest)

    def accent(self, mark: str) -> None:
        letters = self.argument()
        plain = "".join(_SYMBOLS.get(token[1:].rstrip(), "") if token[0] == "\\" else token for token in letters if token not in "{}")
        plain = plain.replace("ı", "i").replace("ȷ", "j") if mark not in ("\u0323", "\u0331") else plain
        if plain:
            base = plain if mark == "\u0361" and len(plain) == 1 else plain[0] + mark + plain[1:]
            self.out.append(unicodedata.normalize("NFC", base))

    # --- commands with a way of their own ------------------------------------------------------------------------------

    def input_file(self, command: str) -> None:
        command = command.rstrip("*")
        self.skip_space()
        following = self.peek()
        if following is None:
            return
        if command in ("import", "subimport", "inputfrom", "includefrom", "subinputfrom", "subincludefrom"):
            name = _words(self.argument()) + _words(self.argument())
        elif following == "{":
            name = _words(self.argument())
        else:  # \input name, to the next space
            word = ""
            while (token := self.next()) is not None:
                if token[0] in "\\{}$%&~#[]\0" or (token[0] == "\n" and token.count("\n") > 1):
                    self.tokens.append(token)
                    break
                head, space, rest = token.partition(" ") if " " in token else token.partition("\n")
                word += head
                if space or len(word) > 300:
                    if rest:
                        self.tokens.append(rest)
                    break
            name = word
        if self.include is None or self.includes >= MAX_INCLUDES or len(self.sources) >= MAX_INCLUDE_DEPTH or not name or len(name) > 300:
            return
        found = self.include(name)
        if found is None or any(source.name == found[0] for source in self.sources):
            return
        if found[0] in self.seen:  # the same file again is paid for, as a macro is
            if not self.pay(len(found[1])):
                return
        else:
            self.seen.add(found[0])
            self.budget += BUDGET_RATE * len(found[1])
        self.includes += 1
        if command in ("subfile", "subfileinclude"):  # a document of its own: between its begin and end
            text = found[1]
            begin = text.find("\\begin{document}")
            if begin >= 0:
                end = text.rfind("\\end{document}")
                text = text[begin + 16 : end if end > begin else len(text)]
            found = (found[0], text)
        if command != "input":
            self.paragraph()
        name, text = found
        self.push_source(name, text if text.endswith("\n") else text + "\n")  # a line's end is a space

    def set_title(self, name: str) -> None:
        self.optional()

        def close(text: str) -> None:
            words = " ".join(text.split())
            if not self.title:
                self.title = words

        self.capture(close)

    def abstract_command(self, name: str) -> None:
        def close(text: str) -> None:
            if text.strip():
                (self.out if self.body else self.notes).append(f"\n\nAbstract\n\n{text}\n\n")
                if not self.body:
                    self.early = f"Abstract\n\n{text}\n\n"

        self.capture(close)

    def footnote(self, name: str) -> None:
        self.optional()

        def close(text: str) -> None:
            words = " ".join(text.split())
            if words:
                self.notes.append(words)

        if self.math is None:
            self.capture(close)
        else:
            self.argument(long=True)

    def keywords(self, name: str) -> None:
        out = self.out

        def close(text: str) -> None:
            words = " ".join(text.split())
            if words:
                out.append(f"\n\nKeywords: {words}\n\n")

        self.capture(close)

    def next_character(self, name: str) -> None:
        """\\@ifnextchar: which of two, by what follows."""
        wanted = self.argument()
        yes, no = self.argument(long=True), self.argument(long=True)
        self.skip_space()
        following = self.peek() or ""
        expected = wanted[0].rstrip() if wanted else ""
        is_next = following == "{" if expected == "\\bgroup" else bool(expected) and following.rstrip().startswith(expected)
        branch = yes if is_next else no
        self.push(branch)

    def if_star(self, name: str) -> None:
        yes, no = self.argument(long=True), self.argument(long=True)
        following = self.peek() or ""
        star = following.startswith("*")
        if star:
            self.skip_star()
        branch = yes if star else no
        self.push(branch)

    def first_of(self, count: int, chosen: int) -> None:
        arguments = [self.argument(long=True) for _ in range(count)]
        self.push(["{", *arguments[chosen], "}"] if self.math is not None else arguments[chosen])

    def if_value(self, name: str) -> None:
        value = self.argument(long=True)
        has = bool("".join(value).strip())
        branches = [self.argument(long=True)]
        if name.endswith("TF"):
            branches.append(self.argument(long=True))
        wants = not name.startswith("IfNoValue")
        if name.endswith("F") and not name.endswith("TF"):
            branches.insert(0, [])
        index = 0 if has == wants else 1
        if index < len(branches):
            self.push(branches[index])

    def control_name(self, name: str) -> None:
        """\\csname NAME\\endcsname is \\NAME."""
        word = ""
        while (token := self.next()) is not None and len(word) < 100:
            if token.rstrip() == "\\endcsname":
                break
            if token[0] == "\n" and token.count("\n") > 1:
                self.tokens.append(token)
                return
            word += token.strip()
        if word.startswith("end") and word[3:].rstrip("*") in _DISPLAYS:
            self.tokens.append(f"\\end{{{word[3:]}}}")
        elif word.rstrip("*") in _DISPLAYS:
            self.tokens.append(f"\\begin{{{word}}}")
        elif re.fullmatch(r"[A-Za-z@]{1,60}", word):
            self.tokens.append("\\" + word)

    def new_flag(self, name: str) -> None:
        flag = self.next() or ""
        if flag.startswith("\\if"):
            self.flags.setdefault(flag[3:].rstrip(), False)

    def operator(self, name: str) -> None:
        command = self._name()
        body = self.argument()
        star = "*" if name.endswith("*") else ""
        self.define(command, _Macro([], ["\\operatorname" + star, "{", *body, "}"]))

    def ensure_math(self, name: str) -> None:
        self.skip_space()
        if self.math is None and self.peek() == "{":
            self.next()
            self.begin_math("{")

    def start_appendix(self, name: str) -> None:
        self.appendix = True
        for counter in ("chapter", "section") if not self.has_chapters else ("chapter",):
            self.counters[counter] = 0

    def url(self, name: str) -> None:
        self.out.append("".join(self.argument()).replace("\\%", "%").replace("\\_", "_").replace("\\#", "#").replace("\\~", "~").strip())

    def quantity(self, name: str) -> None:
        """siunitx's \\SI{1}{\\metre}: the number, and the unit's words where it is spelt."""
        self.optional()
        number = self.argument()
        self.optional()
        unit = self.argument()
        self.push([*number, " ", *unit])

    def enquote(self, name: str) -> None:
        out = self.out
        out.append("“")
        self.capture(lambda text: out.append(text + "”"))

    def bounded_text(self, name: str) -> None:
        """\\def and its kin; \\newcommand; \\let."""
        if name.rstrip("*") in _DEFINERS:
            self.newcommand(name.rstrip("*"))
        elif name == "let" or name == "futurelet":
            self.let()
        else:
            self.definition()


def _control() -> dict[str, Callable[[_Converter, str], None]]:
    """Commands by name, with their ways; `*` forms of definitions beside the plain ones."""
    c = _Converter
    table: dict[str, Callable[[_Converter, str], None]] = {
        "item": lambda s, n: s.item(), "caption": lambda s, n: s.caption(), "caption*": lambda s, n: s.caption(), "title": c.set_title,
        "icmltitle": c.set_title, "Title": c.set_title, "footnote": c.footnote, "footnotetext": c.footnote, "endnote": c.footnote,
        "tablefootnote": c.footnote, "sidenote": c.footnote, "abstract": c.abstract_command, "keywords": c.keywords,
        "IEEEkeywords": c.keywords, "newif": c.new_flag, "csname": c.control_name, "ensuremath": c.ensure_math,
        "appendix": c.start_appendix, "appendices": c.start_appendix, "url": c.url, "nolinkurl": c.url, "path": c.url, "SI": c.quantity,
        "qty": c.quantity, "enquote": c.enquote, "label": lambda s, n: s.label(_words(s.argument())), "@ifnextchar": c.next_character,
        "@ifstar": c.if_star, "mathchoice": lambda s, n: s.first_of(4, 0), "@firstoftwo": lambda s, n: s.first_of(2, 0),
        "@secondoftwo": lambda s, n: s.first_of(2, 1), "DeclareMathOperator": c.operator, "DeclareMathOperator*": c.operator,
        "newtheorem": lambda s, n: s.newtheorem(False), "newtheorem*": lambda s, n: s.newtheorem(True), "else": c.other_branch,
        "fi": c.other_branch, "ifthenelse": lambda s, n: s.first_of(3, 2), "xspace": lambda s, n: None,
        "begin": lambda s, n: s.begin(_words(s.argument())), "end": lambda s, n: s.end(_words(s.argument())),
        "bgroup": lambda s, n: s.tokens.append("{"), "egroup": lambda s, n: s.tokens.append("}"),
    }  # fmt: skip
    for name in (
        "input",
        "include",
        "subfile",
        "subfileinclude",
        "import",
        "subimport",
        "import*",
        "subimport*",
        "inputfrom",
        "subinputfrom",
    ):
        table[name] = c.input_file
    for name in _DEFINERS:
        table[name] = table[name + "*"] = c.bounded_text
    for name in ("def", "gdef", "edef", "xdef", "let", "futurelet"):
        table[name] = c.bounded_text
    for name in _XPARSE:
        table[name] = lambda s, n: s.xparse()
    for name in ("newenvironment", "renewenvironment", "newenvironment*", "renewenvironment*"):
        table[name] = lambda s, n: s.newenvironment()
    for name in ("IfNoValueTF", "IfValueTF", "IfBooleanTF", "IfNoValueF", "IfValueT", "IfBooleanT", "IfNoValueT", "IfValueF"):
        table[name] = c.if_value
    return table


_CONTROL = _control()
_KNOWN = (
    set(_CONTROL) | set(_SECTIONS) | _CITES | _REFS | set(_SYMBOLS) | set(_ACCENTS) | set(_DROP) | set(_LEADING) | _TABLE_RULES | _PREFIXES
)


def to_text(text: str, *, name: str = "", include: Include | None = None, macros: str = "") -> Document:
    r"""A TeX file as text. `include` finds what `\input` names; `macros` are definitions to read first (a paper's own style files)."""
    converter = _Converter(include, len(text))
    if macros:
        converter.push_source("", macros)
        converter.run()
        converter.frames[0].buffer.clear()
        converter.done = False
    converter.push_source(name, text)
    converter.run()
    joined = "".join(converter.frames[0].buffer)
    title = _finish(converter, converter.title)
    blocks = [title, _finish(converter, converter.early + joined)]
    return Document(
        title or _finish(converter, converter.first_heading), "\n\n".join(block for block in blocks if block), converter.stopped
    )


def _finish(converter: _Converter, text: str) -> str:
    """Spaces and lines in order, then what was held back (code, displays, numbers of references) put in."""
    text = text.replace("\2", " ")
    text = re.sub(r"[ \t]{2,}|\t", " ", text)
    text = re.sub(r" \n ?|\n ", "\n", text)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    text = text.replace("\1", " ")

    def held(match: re.Match[str]) -> str:
        index = int(match.group(2))
        return converter.raws[index] if match.group(1) == "R" else converter.resolved(index)

    if "\0" in text:
        text = _PLACEHOLDER.sub(held, text)
        if "\0" in text:  # a reference within a display
            text = _PLACEHOLDER.sub(held, text).replace("\0", "")
    # What references that are not known leave behind, as in "Theorem ()." and "see  and".
    text = re.sub(r" ?\(\s?\)", "", text)
    return re.sub(r"(?<=[^\s|]) +(?=[.,;:!?)](?:\s|$))", "", text, flags=re.MULTILINE)
