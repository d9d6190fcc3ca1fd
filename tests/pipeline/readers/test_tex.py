"""TeX to text: what the page shows, by hand; linear time and bounded expansion on what attacks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.readers.tex import to_text
from tests.profiles import share
from tests.work import in_proportion


def body(source: str, preamble: str = "") -> str:
    document = "\\documentclass{article}\n" + preamble + "\n\\begin{document}\n" + source + "\n\\end{document}\n"
    return to_text(document).text


def test_a_physics_paper_reads_as_its_page_does() -> None:
    document = to_text(r"""
\documentclass[aps,prl]{revtex4-1}
\usepackage{graphicx}% Include figure files
\newcommand{\be}{\begin{equation}}
\newcommand{\ee}{\end{equation}}
\def\bra#1{\langle #1|}
\newcommand{\ie}{\emph{i.e.}}
\begin{document}
\preprint{APS/123-QED}
\title{Phases of the Schr\"odinger--Hubbard model\thanks{Thanks}}
\author{A. Author}
\affiliation{Universit\'e de Gen\`eve}
\email{b@other.org}
\begin{abstract}
We study the model~\cite{hubbard63} at $T=0$. It is $100\%$ gapped.
\end{abstract}
\pacs{03.65.-w}
\maketitle
\section{\label{sec:intro}Introduction}
The model, \ie\ the one in Refs.~\onlinecite{hubbard63,gutzwiller}, reads
\be
H = -t \sum_{i} c_i^\dagger c_j, \label{eq:H}
\ee
with $\bra{\psi}$ (see Eq.~(\ref{eq:H}) and Sec.~\ref{sec:intro}).
% a comment with \begin{equation}
Here 50\% of it---or more---is ``known''.\footnote{See \AA ngstr\"om.}

See Fig.~\ref{fig:one}.
\begin{figure}[t]
\includegraphics[width=\columnwidth]{fig1.eps}
\caption{\label{fig:one}The phase diagram.}
\end{figure}
\begin{eqnarray}
a &=& b \\
c &=& d \nonumber
\end{eqnarray}
\begin{acknowledgments}We thank nobody.\end{acknowledgments}
\begin{thebibliography}{9}
\bibitem{hubbard63} J. Hubbard (1963).
\end{thebibliography}
\end{document}
trailing junk""")
    assert document.title == "Phases of the Schrödinger–Hubbard model"
    assert (
        document.text
        == r"""Phases of the Schrödinger–Hubbard model

Abstract

We study the model [1] at $T=0$. It is $100\%$ gapped.

Introduction

The model, i.e. the one in Refs. [1, 2], reads
$$H = -t \sum_{i} c_i^\dagger c_j,$$
with $\langle \psi|$ (see Eq. (1) and Sec. 1). Here 50% of it—or more—is “known”.

See Ångström.

See Fig. 1.

Figure 1. The phase diagram.

$$\begin{aligned}
a &=& b \\
c &=& d
\end{aligned}$$"""
    )


def test_an_engineering_paper_reads_as_its_page_does() -> None:
    text = to_text(r"""
\documentclass[conference]{IEEEtran}
\newcommand{\ours}{\textsc{FastNet}\xspace}
\newif\ifdraft
\draftfalse
\begin{document}
\title{\ours: A Network\\ {\footnotesize for Everyone}}
\author{\IEEEauthorblockN{1\textsuperscript{st} Jane Doe}
\IEEEauthorblockA{\textit{dept.} \\ City}}
\maketitle
\section{Introduction}
\IEEEPARstart{N}{etworks} \cite{a}, \cite{b,c}, as \citet{d} says. \ours runs at \SI{3.5}{GHz}, costs \$5 \& uses C\#, a\_b.
\ifdraft TODO: remove \else Final. \fi
\begin{itemize}
\item One
\item Two, nested
  \begin{enumerate}
  \item inner a
  \item inner b
  \end{enumerate}
\end{itemize}
\paragraph{Setup} We use $n=10$ runs.
\begin{align}
x &= y + \text{noise if $z>0$} \label{eq:a}\\
z &= w \notag \\
q &= r \label{eq:b}
\end{align}
Equations \eqref{eq:a} and~\eqref{eq:b}, \cref{tab:one}.
\begin{lstlisting}[language=Python]
def f(x):
    return x % 2  # comment $
\end{lstlisting}
Use \verb|a_b$c| and \url{http://x.org/a_b%20c}. \href{http://y.org/%7e}{Here}.
\begin{table}[t]\centering
\caption{Results of \ours on all data.}\label{tab:one}
\begin{tabular}{@{}lrr@{}}
\toprule
Method & Acc. & Time\\
\cmidrule(lr){2-3}
\ours & \textbf{93.1} & 1.2\,s\\
Base & \multicolumn{2}{c}{none}\\
\bottomrule
\end{tabular}
\end{table}
\begin{figure*}
\begin{tikzpicture}\draw (0,0) -- (1,1); \node {hidden};\end{tikzpicture}
\caption{A picture.}
\end{figure*}
\begin{comment}
hidden
\end{comment}
\iffalse hidden too \fi
\appendices
\section{Proof}\label{app:p}
See Appendix~\ref{app:p}.
\bibliographystyle{IEEEtran}
\bibliography{IEEEabrv,mybib}
\end{document}""").text
    assert (
        text
        == r"""FastNet: A Network for Everyone

Introduction

Networks [1], [2, 3], as [4] says. FastNet runs at 3.5 GHz, costs $5 & uses C#, a_b. Final.

- One
- Two, nested
  1. inner a
  2. inner b

Setup. We use $n=10$ runs.
$$\begin{aligned}
x &= y + \text{noise if $z>0$} \\
z &= w \\
q &= r
\end{aligned}$$
Equations (1) and (2), Table 1.

def f(x):
    return x % 2  # comment $

Use a_b$c and http://x.org/a_b%20c. Here.

Table 1. Results of FastNet on all data.

Method | Acc. | Time
FastNet | 93.1 | 1.2 s
Base | none

Figure 1. A picture.

Proof

See Appendix A."""
    )


def test_a_mathematical_paper_reads_as_its_page_does() -> None:
    text = to_text(r"""
\documentclass[11pt]{amsart}
\newtheorem{thm}{Theorem}[section]
\newtheorem{lemma}[thm]{Lemma}
\newtheorem*{rem}{Remark}
\DeclareMathOperator{\Hom}{Hom}
\newcommand{\R}{\mathbb{R}}
\newcommand{\pd}[2][]{\frac{\partial #1}{\partial #2}}
\newenvironment{claim}[1][Claim]{\par\noindent\textbf{#1.} }{\hfill$\square$\par}
\let\eps\varepsilon
\title[Short]{On the \v{C}ech cohomology of $\R^n$}
\address{Dept}
\begin{document}
\begin{abstract}
A conjecture of Erd\H{o}s, Lov\'asz \& Bara\'nski; \L ukasiewicz, na\"{\i}ve, fa\c{c}ade.
\end{abstract}
\maketitle
\section{Introduction}
Let $\eps>0$. Then $\pd[f]{x}$ and \[\Hom(A,B)=\pd{y}.\]
\begin{thm}[Main theorem]\label{thm:main}
Every map is $\R$-linear.
\end{thm}
\begin{lemma}\label{l}Small.\end{lemma}
\begin{proof}[Proof of Theorem~\ref{thm:main}]
By Lemma~\ref{l} and \cite[Theorem 2.1]{serre}, clear: $$a^2+b^2$$ as wanted.
\end{proof}
\begin{rem}Note.\end{rem}
\begin{claim}It holds.\end{claim}
\section{More}
\begin{thm}\label{t2}Two.\end{thm}
Theorems~\ref{thm:main}--\ref{t2}, 1990--2000, ?`Qu\'e? ``Quoted `inner' text''.
\end{document}""").text
    assert (
        text
        == r"""On the Čech cohomology of $\mathbb{R}^n$

Abstract

A conjecture of Erdős, Lovász & Barański; Łukasiewicz, naïve, façade.

Introduction

Let $\varepsilon >0$. Then $\frac{\partial f}{\partial x}$ and
$$\operatorname{Hom}(A,B)=\frac{\partial }{\partial y}.$$

Theorem 1.1 (Main theorem). Every map is $\mathbb{R}$-linear.

Lemma 1.2. Small.

Proof of Theorem 1.1. By Lemma 1.2 and [1, Theorem 2.1], clear:
$$a^2+b^2$$
as wanted.

Remark. Note.

Claim. It holds. $\square$

More

Theorem 2.1. Two.

Theorems 1.1–2.1, 1990–2000, ¿Qué? “Quoted ‘inner’ text”."""
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"\def\a#1.{(#1)}\a text. more", "(text) more"),  # a delimited parameter
        (r"\newcommand{\a}[2][x]{#1-#2}\a{b} \a[c]{d}", "x-b c-d"),
        (r"\def\a{one}\let\b\a\def\a{two}\b, \a", "one, two"),
        (r"\NewDocumentCommand{\a}{o m}{\IfNoValueTF{#1}{no}{#1} #2}\a{x} \a[y]{z}", "no x y z"),
        (r"\def\a#1{\def\b##1{#1##1}}\a{x}\b{y}", "xy"),
        (r"\providecommand{\a}{first}\providecommand{\a}{second}\a", "first"),
        (r"$\def\R{\mathbf R}\R x\R$", r"$\mathbf Rx\mathbf R$"),
        (r"\newcommand{\al}{\alpha}$\al x$", r"$\alpha x$"),  # not \alphax
        (r"A line\\[2pt] and\\ [one] more", "A line\nand\n[one] more"),
        ("one% comment\n  two %\nthree\\% four", "onetwo three% four"),
        ("one\n\n% comment\n\ntwo", "one\n\ntwo"),
        (r"$a$ costs \$5 and $b$", "$a$ costs $5 and $b$"),
        (r"$$a$$ and \(b\) \[c\]", "$$a$$\nand $b$\n$$c$$"),
        (r"never closed $x + y" + "\n\nafter", "never closed $x + y$\n\nafter"),
        (r"\emph{never closed" + "\n\nafter", "never closed\n\nafter"),
        (r"\section{never closed" + "\n\nafter", "never closed\n\nafter"),
        (r"\unknown[opt]{shown} \textcolor{red}{red} \label{x}\index{y}done", "shown red done"),
        (r"Theorem~\ref{nowhere} (\ref{nowhere}), see~\cite{}.", "Theorem, see."),
        (r"\begin{unknown}[opt] text\end{unknown}", "text"),
        (r"\iftrue yes\else no\fi \ifx\a\b no\else yes\fi", "yesyes"),
        (r"\newif\ifx \xtrue\ifx yes\else no\fi", "yes"),
        (r"\'e \'{e} {\'e} \^\i \~n \c c \v{z} \o \ss{} \AE{} \r a \t{oo}", "é é é îñ ç ž øß Æ å o͡o"),
        (r"\begin{verbatim}\alpha $x$ %" + "\n  kept\n" + r"\end{verbatim}", "\\alpha $x$ %\n  kept"),
        (r"\ensuremath{x}, $\ensuremath{y}$", "$x$, ${y}$"),
        (r"\begin{equation}a\end{equation}b", "$$a$$\nb"),
        (r"\csname emph\endcsname{x}", "x"),
        (r"a~b\,c\ d\-e\/f", "a b c def"),
    ],
)  # fmt: skip
def test_constructs_read_as_tex_sets_them(source: str, text: str) -> None:
    assert body(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"\SI{30}{\milli\meter} or \qty{30}{mm}", "30 mm or 30 mm"),
        (r"\SI{5.2e3}{\kilo\gram}, \num{1.5e-12}, \num{e6}", "5.2 × 10^3 kg, 1.5 × 10^{-12}, 10^6"),
        (r"\SI{10.0 \pm 3.3}{ms} and \num{3 x 4}", "10.0 ± 3.3 ms and 3 × 4"),
        (r"\SIrange{10}{20}{\celsius}, \qtyrange{1}{2}{m}, \numrange{5}{9}", "10 °C–20 °C, 1 m–2 m, 5–9"),
        (r"\SIlist{1;2;3}{cm} \numlist{7;8}", "1 cm, 2 cm and 3 cm 7 and 8"),
        (r"\ang{45} \ang{1;2;3}", "45° 1°2′3″"),
        (r"\si{\kilogram\metre\per\square\second}", "kg m/s^2"),
        (r"\si{\joule\per\mole\per\kelvin}", "J/(mol K)"),
        (r"\unit{\per\second} \unit{\per\cubic\centi\metre}", "s^{-1} cm^{-3}"),
        (r"\SI{3}{m.s^{-1}} \SI{4}{kg/m^3} \SI{5}{\metre\tothe{4}}", "3 m s^{-1} 4 kg/m^3 5 m^4"),
        (r"\SI[per-mode=symbol]{7}{\micro\molar} at \SI{20}{\percent}", "7 µmol/L at 20 %"),
        (r"$\SI{2}{\ohm}$", r"$2\,\text{Ω}$"),
    ],
)
def test_siunitx_is_read_as_it_prints(source: str, text: str) -> None:
    assert body(source) == text


def test_units_and_numbers_of_the_authors_own() -> None:
    assert body(r"\SI{\mass}{\molal}", r"\DeclareSIUnit{\molal}{mol\per\kilogram}\newcommand{\mass}{5.5}") == "5.5 mol/kg"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        (
            r"""\begin{algorithmic}[1]\REQUIRE $n$\STATE $x \leftarrow 1$\IF{$n<0$}\STATE stop\ELSIF{$n=0$}\STATE wait
            \ELSE\STATE go \COMMENT{at last}\ENDIF\FORALL{$i$}\STATE step\ENDFOR\REPEAT\STATE a\UNTIL{$b$}\RETURN $x$\end{algorithmic}""",
            [
                "Require: $n$", r"$x \leftarrow 1$", "if $n<0$ then", "  stop", "else if $n=0$ then", "  wait", "else", "  go ▷ at last",
                "end if", "for all $i$ do", "  step", "end for", "repeat", "  a", "until $b$", "return $x$",
            ],
        ),
        (
            r"""\begin{algorithmic}\Function{Gcd}{$a,b$}\Comment{Euclid}
            \While{$b>0$}\State \Call{Swap}{$a$}
              \State $a \gets b$
            \EndWhile
            \State \Return $a$\EndFunction\end{algorithmic}""",
            ["function Gcd($a,b$) ▷ Euclid", "  while $b>0$ do", "    Swap($a$)", r"    $a \gets b$", "  end while", "  return $a$", "end function"],
        ),
        (
            r"""\begin{algorithm2e}\SetKwInOut{Input}{input}\SetKwFunction{Union}{Union}\DontPrintSemicolon
            \Input{a list}\KwResult{sorted}
            start\;
            \While{not done}{
              \eIf{ok}{\Union{$a$}\;}{skip\;
                again\;}
            }
            \uIf{x}{y\;}\Else{z\;}
            \Repeat{$n=0$}{down\;}
            \Return{$r$}\;
            \end{algorithm2e}""",
            [
                "input: a list", "Result: sorted", "start", "while not done do", "  if ok then", "    Union($a$)", "  else", "    skip",
                "    again", "  end", "end", "if x then", "  y", "else", "  z", "end", "repeat", "  down", "until $n=0$", "return $r$",
            ],
        ),
    ],
)  # fmt: skip
def test_an_algorithm_has_a_line_for_each_statement(source: str, lines: list[str]) -> None:
    assert body(source).split("\n") == lines


def test_an_algorithms_commands_mean_nothing_elsewhere() -> None:
    assert body(r"One \State{two} three.", r"\newcommand{\State}[1]{[#1]}") == "One [two] three."


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"A \deleted[id=x]{gone }\added{new} word, \replaced{better}{worse}.", "A new word, better."),
        (r"It \change[me]{was}{is} so \remove[me]{no more }\annote[me]{kept}{a remark}\note{b}.", "It is so kept."),
        (r"Some \DIFdel{old }\DIFadd{fresh} text, \sout{struck}\st{out}\textbf{bold}.", "Some fresh text, bold."),
    ],
)
def test_tracked_changes_read_as_if_they_were_accepted(source: str, text: str) -> None:
    assert body(source) == text


def test_a_papers_own_command_of_such_a_name_counts() -> None:
    assert body(r"A \note{word} here.", r"\newcommand{\note}[1]{\emph{#1}}") == "A word here."


@pytest.mark.parametrize(
    ("preamble", "source", "text"),
    [
        (r"\newcommand{\pkg}[1]{\texttt{#1}\xspace}\newcommand{\python}{\pkg{Python}}", r"The \python package.", "The Python package."),
        (r"\newcommand{\nm}{Nm\xspace}\newcommand{\name}{\nm}", r"A \name runs, \name. (\name)", "A Nm runs, Nm. (Nm)"),
        (r"\newcommand{\sys}{{\sc Sys\xspace}}", r"\sys is \sys{} and \sys's", "Sys is Sys and Sys’s"),
        (r"\newcommand{\a}{A\xspace}\newcommand{\b}{B\xspace}", r"\a\b $x$ \a\cite{k} \a\footnote{n}.", "A B $x$ A [1] A.\n\nn"),
    ],
)
def test_xspace_puts_a_space_where_a_word_follows(preamble: str, source: str, text: str) -> None:
    assert body(source, preamble) == text


def test_arguments_of_a_command_that_is_not_known_stand_apart() -> None:
    assert body(r"\epigraph{All words.}{An author} \begin{CJK}{UTF8}{gbsn}end\end{CJK}") == "All words. An author\n\nend"


def test_included_files_are_read_once_at_a_time_and_in_place() -> None:
    files = {"a": "A \\input{b} A2", "b": "B \\input{a} \\input{b} B2", "sub": "\\documentclass{x}\\begin{document}S\\end{document}"}

    def include(name: str) -> tuple[str, str] | None:
        return (name, files[name]) if name in files else None

    text = to_text(r"\begin{document}\input a \input{a}\subfile{sub} \input{../../etc/passwd} end\end{document}", include=include).text
    assert " ".join(text.split()) == "A B B2 A2 A B B2 A2 S end"


LETTERS = "abcdefghijklmnopqrstu"
BOMB = "\\def\\a{xxxxxxxxxx}" + "".join("\\def\\" + y + "{" + ("\\" + x) * 10 + "}" for x, y in pairwise(LETTERS)) + "\\u" * 1000
HOSTILE = {
    "open braces": "{" * 300_000,
    "nested commands": "\\emph{" * 60_000 + "x" + "}" * 60_000,
    "nested captures": "\\footnote{" * 40_000 + "x" + "}" * 40_000,
    "headings that never close": "\\section{a\n\n" * 30_000,
    "environments that never end": "\\begin{figure}" * 25_000,
    "nested tables": "\\begin{tabular}{l}" * 20_000 + "\\end{tabular}" * 20_000,
    "nested lists": "\\begin{itemize}\\item " * 15_000,
    "verbatim that never ends": "\\begin{verbatim}" * 20_000,
    "verb of every delimiter": "".join(f"\\verb{chr(0x4E00 + i % 20_000)}" for i in range(50_000)),
    "optional arguments that never close": "\\item[" * 50_000,
    "billion laughs": BOMB,
    "endless loop": "\\def\\a{x\\a}\\a",
    "doubling loop": "\\newcommand{\\a}[1]{\\a{#1#1}}\\a{xxxx}",
    "nested arguments": "\\newcommand{\\a}[1]{#1}" + "\\a{" * 50_000 + "x" + "}" * 50_000,
    "environments that open each other": "\\newenvironment{a}{\\begin{b}}{\\end{b}}\\newenvironment{b}{\\begin{a}}{\\end{a}}\\begin{a}"
    * 300,
    "conditionals": "\\iffalse\\ifx" * 30_000,
    "thousands of counters": "".join(f"\\newtheorem{{t{i}}}{{T}}[section]" for i in range(3_000)) + "\\section{a}" * 6_000,
    "units": "\\SI{" * 80_000,
    "cells": "\\begin{tabular}{l}" + "&" * 300_000,
    "open mathematics": "$" + "{" * 300_000,
    "delimited": "\\def\\a#1xyz{#1}" + "\\a{" * 100_000,
    "comments": "%\n" * 150_000,
    "blank lines": "\n \t" * 100_000,
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_tex_takes_time_in_proportion_to_its_length(name: str) -> None:
    """Macros have a budget of their own, which is worth some two million steps; a square of what is counted would be billions."""
    document = in_proportion(to_text, HOSTILE[name] + "\n\n", more=8_000_000)
    assert len(document.text) < 20_000_000


def test_macros_that_give_too_much_are_dropped_and_the_paper_goes_on() -> None:
    document = to_text("\\begin{document}\\def\\a{x\\a}Before \\a\n\nAfter.\\end{document}")
    assert document.expansion_stopped
    assert document.text.startswith("Before x")
    assert document.text.endswith("\n\nAfter.")


PIECES = st.sampled_from([
    "\\begin{equation}", "\\end{equation}", "\\begin{itemize}", "\\end{itemize}", "\\item", "\\item[", "]", "{", "}", "$", "$$", "\\[", "\\]",
    "\\def\\a", "#1", "\\a", "\\newcommand{\\b}[1]{x#1}", "\\b", "\\section", "\\footnote", "\\caption", "\\begin{figure}", "\\end{figure}",
    "\\begin{tabular}{ll}", "\\end{tabular}", "&", "\\\\", "\\\\[2pt]", "%", "\n", "\n\n", " ", "text", "é", "\\'", "\\verb|", "|", "\\begin{verbatim}",
    "\\end{verbatim}", "\\if", "\\iffalse", "\\else", "\\fi", "\\newif\\ifz", "\\ztrue", "\\ref{x}", "\\label{x}", "\\cite{y}", "\\cite[", "~", "^", "_",
    "\\newenvironment{e}{<}{>}", "\\begin{e}", "\\end{e}", "\\begin{document}", "\\end{document}", "\\csname", "\\endcsname", "\\let\\a\\b", "\\", "\x00",
    "\\ensuremath{", "\\title{", "\\input{x}", "\\begin{theorem}", "\\newtheorem{theorem}{T}", "\\appendix", "\\chapter{", "\\url{", "\\SI{1}", "\\@ifnextchar",
    "\\mathchoice", "\\IfNoValueTF", "\\begin", "\\end", "\\ ", "\\}", "1", "[", "\\bgroup", "\\egroup", "\\xspace", "\\enquote{", "\\caption[", "\\par",
])  # fmt: skip


@settings(max_examples=share(4))
@given(st.lists(PIECES, max_size=60))
def test_no_tex_raises_or_leaves_marks_of_ours(pieces: list[str]) -> None:
    source = "".join(pieces)
    document = to_text(source, include=lambda name: ("x", source))
    assert not set("\0\1\2") & set(document.text)
    assert to_text(source, include=lambda name: ("x", source)) == document


@settings(max_examples=share(2))
@given(
    st.text(
        alphabet=st.characters(
            exclude_characters="\\{}$%&~#^_[]`'-\"?!<>|*:;,.()\0\1\2\r", exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]
        ),
        max_size=200,
    )
)
def test_plain_words_stay_as_they_are(words: str) -> None:
    assert body(words) == " ".join(words.split())


def test_real_books_read_without_leftovers(real_data: Path) -> None:
    """Over two books of 770 files: no environment or heading of LaTeX is left outside mathematics, and little is lost."""
    import re

    from pipeline.readers import Record, list_files, read_file, source_config

    config = source_config(name="books", domain="science", format="latex", path=str(real_data / "science" / "latex-books.tar.zst"))
    (file,) = list_files(config, Path("/"))
    records = [record for record in read_file(file, config) if isinstance(record, Record)]
    assert len(records) > 600
    assert len({record.id for record in records}) == len(records)
    total = sum(len(record.text) for record in records)
    assert total > 3_000_000
    assert not any(record.meta.get("expansion_stopped") for record in records)
    book = max(records, key=lambda record: len(record.text))
    assert book.title == "Homotopy Type Theory: Univalent Foundations of Mathematics"
    assert "One of the classical advantages of type theory is its simple and effective techniques" in book.text
    assert r"${\prod_{" in book.text, "the book's own macros, which look at what follows them, are expanded"
    leftovers = 0  # begin and end are in mathematics, where they belong
    for record in records:
        prose = re.sub(r"\$\$[^$]*\$\$|\$[^$\n]*\$", "", record.text)
        leftovers += len(re.findall(r"\\(?:section|emph|textbf|label|ref|cite|item|footnote|chapter)\b", prose))
    assert leftovers < 10, "of 100,000 commands; some stand in mathematics with dollars within, which this pattern takes apart"
