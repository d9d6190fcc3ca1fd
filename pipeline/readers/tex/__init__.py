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

The way of a document through the files here: `convert` reads `tokens` one by one; `commands`, `environments` and, within formulas,
`mathematics` say what each does, by tables of functions over one `state`; `macros` puts expansions in front of what is still to be read;
text goes to the `page`, numbers come from `numbering` and `references`. What commands mean is data: `vocabulary`, `characters`.
"""

from __future__ import annotations

from pipeline.readers.tex.convert import Document, to_text
from pipeline.readers.tex.inclusion import MAX_INCLUDES
from pipeline.readers.tex.state import Include

__all__ = ["MAX_INCLUDES", "Document", "Include", "to_text"]
