r"""TeX's source as tokens, and how they are read: files within files, arguments, and a budget for what is read more than once.

A token is a string that the pattern below matches: a command with the spaces after it, `\begin{name}`, a comment with its line's end,
a brace or another character with a meaning, a blank line, or a run of text. The content of a verbatim environment is one token that
begins with `\0`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from pipeline.readers.tex.vocabulary import VERBATIM

MAX_MACRO = 20_000  # tokens in a macro's body or argument
BUDGET = 200_000  # characters that macros may give, and
BUDGET_RATE = 5  # as many for each character of the source

# Each alternative takes at least one character and none looks far: `\verb` at most 200 ahead. `\0` to `\3` are not in the text (they are
# ours: placeholders for what is put in at the end, an indenting space, the end of a cell, the begin of a statement).
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
_LENGTH = re.compile(r"\[\s{0,4}-?[0-9.]{1,8}\s{0,4}\\?[a-z]{2,12}\s{0,4}\]")
_ASSIGNMENT = re.compile(
    r"\A\s{0,9}=?\s{0,9}-?[0-9.]{0,9}\s{0,9}(?:pt|em|ex|cm|mm|in|true|sp)?(?:\s{0,9}(?:plus|minus)\s{0,9}[0-9.]{1,9}\w\w){0,2}"
)


def environment_of(token: str) -> str:
    r"""The name in a `\begin{name}` or `\end{name}`."""
    return token[token.index("{") + 1 : -1].strip()


def is_environment(token: str) -> bool:
    r"""Whether a token is a `\begin{name}` or `\end{name}`."""
    return token[-1] == "}" and token.startswith(("\\begin", "\\end"))


def is_blank_line(token: str) -> bool:
    """Whether a token ends the paragraph."""
    return token[0] == "\n" and token.count("\n") > 1


def words(parts: list[str]) -> str:
    """Tokens as text, every run of white space one blank."""
    return " ".join("".join(parts).split())


def _split(text: str) -> Iterator[str]:
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").replace("\1", "").replace("\2", "").replace("\3", "")
    if not any(f"{{{name}}}" in text for name in VERBATIM):
        yield from (match.group() for match in _TOKEN.finditer(text))
        return
    position, gone = 0, set()
    while position < len(text):
        for match in _TOKEN.finditer(text, position):
            token = match.group()
            yield token
            if token.startswith("\\begin") and token[-1] == "}":
                name = environment_of(token)
                if name in VERBATIM and name not in gone:
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


class Source:
    """A file's tokens, in order, a few thousand at a time."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.stack: list[str] = []  # the next token is the last; expansions are pushed here
        self._tokens = _split(text)

    def refill(self) -> bool:
        """Takes more of the file. False at its end."""
        self.stack.extend(islice(self._tokens, 2048))
        self.stack.reverse()
        return bool(self.stack)


class Tokens:
    """What is still to be read: the tokens of the innermost file, then those of the files that include it.

    `stack` holds the innermost file's next tokens, the very next one last, so that a token is put back by appending it. What is pushed
    there by `push` is paid for from `budget`, in characters; once that is spent, `stopped` is set and stays so.
    """

    __slots__ = ("budget", "sources", "stack", "stopped")

    def __init__(self, characters: int) -> None:
        self.budget = BUDGET + BUDGET_RATE * characters
        self.stopped = False
        self.sources: list[Source] = []
        self.stack: list[str] = []

    def open(self, name: str, text: str) -> None:
        """Reads a file before anything else."""
        source = Source(name, text)
        self.sources.append(source)
        self.stack = source.stack

    def pay(self, characters: int) -> bool:
        """Whether so many characters could be paid for."""
        self.budget -= characters
        if self.budget < 0:
            self.stopped = True
        return not self.stopped

    def push(self, tokens: list[str]) -> None:
        """Tokens to read next, paid for: what was read may be read again only so often."""
        if self.pay(sum(map(len, tokens)) + 1):
            self.stack.extend(reversed(tokens))

    def next(self) -> str | None:
        """The next token, or None at the end of all files."""
        while not self.stack:
            if not self.sources:
                return None
            if self.sources[-1].refill():
                break
            self.sources.pop()
            self.stack = self.sources[-1].stack if self.sources else []
        return self.stack.pop()

    def peek(self) -> str | None:
        """The next token, which stays there."""
        token = self.next()
        if token is not None:
            self.stack.append(token)
        return token

    def skip_space(self) -> None:
        """Past spaces, one line's end and comments; not past a blank line."""
        while (token := self.next()) is not None:
            if token[0] == "%":
                continue
            stripped = token.lstrip(" \t\n") if token[0] in " \t\n" and token.count("\n") < 2 else token
            if stripped:
                self.stack.append(stripped)
                return

    def skip_star(self) -> None:
        """Past a star, where the next token begins with one."""
        if self.stack and self.stack[-1].startswith("*"):
            self.put_back(self.stack.pop()[1:])

    def skip_length(self) -> None:
        r"""Past the `[2pt]` after `\\`; brackets that hold no length stay, since authors begin lines with them."""
        if self.stack and self.stack[-1] == "[" and _LENGTH.match("".join(reversed(self.stack[-3:]))):
            self.optional()

    def skip_assignment(self) -> None:
        r"""Past the value of a register, as in `\parskip=3pt plus 1pt`."""
        self.put_back(_ASSIGNMENT.sub("", self.next() or ""))

    def put_back(self, rest: str) -> None:
        """What is left of a token is the next one, unless it is empty."""
        if rest:
            self.stack.append(rest)

    def argument(self, *, long: bool = False) -> list[str]:
        """The next argument's tokens, without its braces. One that is not `long` ends at a blank line, as TeX would complain."""
        self.skip_space()
        token = self.next()
        if token is None:
            return []
        if token != "{":
            return self._bare_argument(token)
        depth, taken = 1, []
        while (token := self.next()) is not None:
            if token == "{":
                depth += 1
            elif token == "}":
                depth -= 1
                if not depth:
                    break
            elif not long and token[0] == "\n" and token.count("\n") > 1:
                self.stack.append(token)
                break
            if token[0] != "%":
                taken.append(token)
            if len(taken) > MAX_MACRO:
                break
        return taken

    def _bare_argument(self, token: str) -> list[str]:
        """An argument without braces: a command, or one character; nothing where the group or environment ends."""
        if token == "}" or token.startswith(("\n\n", "\\end")):
            self.stack.append(token)
            return []
        if token[0] not in "\\$&~#[]^_\0" and len(token) > 1:  # a run of text: its first character
            self.stack.append(token[1:])
            return [token[0]]
        return [token]

    def optional(self) -> list[str] | None:
        """An optional argument's tokens without its brackets, or None where none follows."""
        self.skip_space()
        if not self.stack or self.stack[-1] != "[":
            return None
        self.stack.pop()
        depth, taken = 0, []
        while (token := self.next()) is not None:
            if token == "]" and depth <= 0:
                break
            if token == "{":
                depth += 1
            elif token == "}":
                depth -= 1
                if depth < 0:
                    self.stack.append(token)
                    break
            elif token[0] == "\n" and token.count("\n") > 1:
                self.stack.append(token)
                break
            if token[0] != "%":
                taken.append(token)
            if len(taken) > MAX_MACRO:
                break
        return taken

    def until(self, delimiter: str) -> list[str]:
        """The tokens up to a delimiter, which is a token or stands within one, and is passed; to the end of the group or paragraph
        where it does not come."""
        taken: list[str] = []
        depth = 0
        while (token := self.next()) is not None:
            if not depth and delimiter in token:
                before, _, after = token.partition(delimiter)
                if before:
                    taken.append(before)
                self.put_back(after)
                break
            depth += (token == "{") - (token == "}")
            if depth < 0 or len(taken) > MAX_MACRO or is_blank_line(token):
                self.stack.append(token)
                break
            taken.append(token)
        return taken
