"""What LaTeX's commands and environments mean to a reader of the page, as tables: of its kernel, the packages and the journals' classes."""

from __future__ import annotations

# --- environments -------------------------------------------------------------------------------------------------------

VERBATIM = {
    "verbatim", "verbatim*", "Verbatim", "BVerbatim", "lstlisting", "minted", "comment", "filecontents", "filecontents*", "alltt",
}  # fmt: skip
CODE = VERBATIM - {"comment", "filecontents", "filecontents*"}
# What is passed over whole.
DROPPED_ENVIRONMENTS = {
    "acknowledgments", "acknowledgements", "acknowledgment", "acknowledgement", "acks", "tikzpicture", "tikzcd", "pgfpicture", "picture",
    "pspicture", "pspicture*", "thebibliography", "CCSXML", "forest", "asy", "overpic", "feynmandiagram", "fmffile", "axis", "pycode",
    "tabbing*", "psfrags", "circuitikz", "thenomenclature", "references",
}  # fmt: skip
# Floats: of pictures the captions are kept, of the others their tables and listings too.
PICTURES = {
    "figure", "figure*", "wrapfigure", "SCfigure", "subfigure", "floatingfigure", "sidewaysfigure", "sidewaysfigure*", "marginfigure",
}  # fmt: skip
FLOATS = {
    "table", "table*", "sidewaystable", "sidewaystable*", "wraptable", "algorithm", "algorithm*", "listing", "deluxetable*",
}  # fmt: skip
# Tables, and how many mandatory arguments come before their rows.
TABLES = {
    "tabular": 1, "tabular*": 2, "tabularx": 2, "tabulary": 2, "longtable": 1, "longtable*": 1, "supertabular": 1, "xltabular": 2,
    "tblr": 1, "longtblr": 1, "deluxetable": 1, "tabbing": 0, "tabu": 1, "longtabu": 1, "xtabular": 1, "NiceTabular": 1,
}  # fmt: skip
# Displayed formulas, and what those of several lines are set in.
DISPLAYS = {
    "equation": "", "displaymath": "", "math": "", "align": "aligned", "alignat": "aligned", "flalign": "aligned", "eqnarray": "aligned",
    "gather": "gathered", "multline": "gathered", "IEEEeqnarray": "aligned", "dmath": "", "dgroup": "gathered", "xalignat": "aligned",
    "subeqnarray": "aligned", "darray": "aligned",
}  # fmt: skip
# Lists, and what marks their items: a dash, a number, or their own words ("").
LISTS = {
    "itemize": "-", "enumerate": "1", "description": "", "compactitem": "-", "compactenum": "1", "inparaenum": "1", "asparaenum": "1",
    "asparaitem": "-", "inparaitem": "-", "trivlist": "", "list": "", "compactdesc": "", "labeling": "", "easylist": "-",
}  # fmt: skip
# Mandatory arguments after \begin{NAME} that are not text (optional ones always go).
ENVIRONMENT_ARGUMENTS = {
    "minipage": 1, "multicols": 1, "list": 2, "wrapfigure": 2, "wraptable": 2, "spacing": 1, "adjustwidth": 2, "adjustbox": 1,
    "textblock": 1, "thebibliography": 1, "alignat": 1, "alignat*": 1, "xalignat": 1, "IEEEeqnarray": 1, "IEEEeqnarray*": 1,
    "subfigure": 1, "labeling": 1, "CJK": 2, "CJK*": 2, "floatingfigure": 1, "fmffile": 1, "savenotes": 0, "algorithmic": 0,
}  # fmt: skip

# --- commands -----------------------------------------------------------------------------------------------------------

# Headings, and their levels.
SECTIONS = {
    "part": -1, "chapter": 0, "section": 1, "subsection": 2, "subsubsection": 3, "paragraph": 4, "subparagraph": 5, "chap": 0, "sect": 1,
    "subsect": 2, "heading": 1, "Section": 1, "frametitle": 3,
}  # fmt: skip
# Commands whose arguments are not text: how many to drop (optional ones always go).
DROPPED = {
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
    # what changes and trackchanges, soul, ulem and latexdiff mark as taken out, and remarks on the text
    "deleted": 1, "chdeleted": 1, "DIFdel": 1, "DIFdelFL": 1, "remove": 1, "st": 1, "sout": 1, "xout": 1, "comment": 1, "note": 1,
    "chcomment": 1, "explain": 1, "listofchanges": 0, "definechangesauthor": 1,
}  # fmt: skip
# Commands whose first arguments are not text, and the last one is: how many to drop before it.
LEADING = {
    "textcolor": 1, "href": 1, "multicolumn": 2, "multirow": 2, "parbox": 1, "resizebox": 2, "scalebox": 1, "raisebox": 1,
    "rotatebox": 1, "texorpdfstring": 1, "foreignlanguage": 1, "colorbox": 1, "fcolorbox": 2, "makebox": 0, "framebox": 0, "hyperref": 0,
    "hyperlink": 1, "hypertarget": 1, "selectlanguage": 1, "adjincludegraphics": 1, "shortstack": 0, "hyperdef": 2, "pdfbookmark": 2,
    "subfloat": 0, "captionof": 1, "subcaptionbox": 0, "bicaption": 0, "textlang": 1, "uline": 0, "text": 0, "mathchoice": 0,
}  # fmt: skip
# Names of tracked changes, which papers also define for themselves.
TRACKED = {
    "deleted", "chdeleted", "remove", "st", "sout", "comment", "note", "explain", "replaced", "chreplaced", "annote", "change", "num",
    "unit", "si", "ang", "qty", "SI",
}  # fmt: skip
CITATIONS = {
    "cite", "citep", "citet", "citealt", "citealp", "citeauthor", "citeyear", "citeyearpar", "parencite", "textcite", "autocite",
    "footcite", "citenum", "onlinecite", "Cite", "Citet", "Citep", "citeA", "citeN", "shortcite", "citeasnoun", "supercite", "smartcite",
    "fullcite", "cites", "parencites", "citetext", "citealtt", "Textcite", "Parencite", "citefull", "refcite", "cref@cite", "bibcite",
    "newcite", "citeyearNP",
}  # fmt: skip
REFERENCES = {
    "ref", "eqref", "pageref", "cref", "Cref", "autoref", "vref", "nameref", "subref", "Ref", "Eqref", "labelcref", "thmref", "figref",
    "secref", "tabref", "lemref", "prettyref", "fref", "Fref", "zcref",
}  # fmt: skip
# References that print what they refer to before its number, as \cref's "Section 2".
NAMED_REFERENCES = {"cref", "Cref", "autoref", "vref", "prettyref", "fref", "Fref", "zcref"}
TABLE_RULES = {
    "hline", "toprule", "midrule", "bottomrule", "endhead", "endfirsthead", "endfoot", "endlastfoot", "firsthline", "lasthline",
    "startdata", "enddata", "tableline", "specialrule", "addlinespace", "Xhline", "colrule", "botrule",
}  # fmt: skip
# Commands that print nothing, and take no argument.
NO_TEXT = {
    "long", "global", "protected", "outer", "expandafter", "protect", "noexpand", "leavevmode", "unskip", "relax", "ignorespaces",
    "makeatother", "allowbreak", "nobreak", "displaystyle", "textstyle", "maketitle",
}  # fmt: skip
