"""The statistics' tokens and counts in plain Python, a character at a time: slow, and independent of the kernels."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from pipeline.measure.scanner import ABBREVIATIONS
from pipeline.measure.statistics import GOPHER_STOP_WORDS, SHORT_LINE
from tests.kernel.plain_words import is_unspaced, words_of_run

CONTRACTIONS = re.compile(r"(?:[sSmMdDtT]|[rR][eE]|[vV][eE]|[lL][lL])")
WORD, MARK_OR_SYMBOL, SPACE_OR_OTHER = "word", "mark", "space"


def is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] == "L" and not is_unspaced(character)


def is_number(character: str) -> bool:
    return unicodedata.category(character)[0] == "N" and not is_unspaced(character)


def is_wordy(character: str) -> bool:
    return bool(character) and unicodedata.category(character)[0] in "LNM" and not is_unspaced(character)


def is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS" and character not in "\u0f0b\u0f0c\u0fd2"  # which part syllables of Tibetan


def is_upper(character: str) -> bool:
    return is_letter(character) and len(character.lower()) == 1 and character.lower() != character


def tokens(text: str) -> list[tuple[str, bool]]:
    """Each token, and whether it is a word."""
    found: list[tuple[str, bool]] = []
    at = 0
    while at < len(text):
        character = text[at]
        if is_unspaced(character):
            end = at
            while end < len(text) and is_unspaced(text[end]):
                end += 1
            found += [(word, True) for word in words_of_run(text[at:end])]
            at = end
        elif is_wordy(character):
            at = _word(text, at, found)
        elif is_mark(character):
            end = at + 1
            if character in ".-":
                while text[end : end + 1] == character:
                    end += 1
            found.append((text[at:end], False))
            at = end
        else:
            at += 1
    return found


def _word(text: str, start: int, found: list[tuple[str, bool]]) -> int:
    at = start
    dotted = False  # a full stop is inside already
    while True:
        piece = at
        while at < len(text) and is_wordy(text[at]):
            at += 1
        size = at - piece
        mark, after = text[at : at + 1], text[at + 1 : at + 2]
        before = text[at - 1]
        if not mark or not is_mark(mark):
            break
        if mark == ".":
            if is_wordy(after):
                if is_letter(before) and not is_upper(before) and is_letter(after) and is_upper(after):
                    break
            else:
                known = not dotted and size <= 4 and text[piece:at].lower() in ABBREVIATIONS and text[piece:at].isascii() and piece == start
                if is_letter(before) and after != "." and (size == 1 or known):
                    at += 1
                break
            dotted = True
        elif not is_wordy(after):
            if text[at : at + 3] == "://":
                end = at
                while end < len(text) and text[end] > " " and text[end] not in '<>")]':
                    end += 1
                while text[end - 1] in ".,;:!?'":
                    end -= 1
                at = end
                break
            run = 1
            while run < 6 and at + run < len(text) and is_mark(text[at + run]) and text[at + run].isascii():
                run += 1
            marks = text[at : at + run]
            ends = "--" in text[at : at + run + 1] or re.search(r"\.[.\"']", text[at : at + run + 1])
            if run > 1 and mark.isascii() and not ends and is_wordy(text[at + run : at + run + 1]):
                at += len(marks)
                continue
            break
        elif mark in "'’":
            match = CONTRACTIONS.match(text, at + 1) if is_letter(before) or is_number(before) else None
            if match and not is_wordy(text[match.end() : match.end() + 1]):
                word = text[start:at]
                if match.group() in "tT" and word[-1] in "nN" and size > 1:
                    word = word[:-1]
                found.append((word, True))
                found.append((text[start + len(word) : match.end()], True))
                return match.end()
        elif mark in "-–—~":
            if is_letter(after) or (mark == "-" and is_number(before) and is_number(after)):
                break
        elif mark in "+*^":
            if is_number(before) and is_number(after):
                break
        elif mark in ":<=>/":
            if is_letter(after):
                break
        elif mark == ",":
            if is_letter(before) and is_letter(after):
                break
        elif not mark.isascii() and mark not in "“”‘":
            break
        at += 1
    found.append((text[start:at], True))
    return at


def lines_of(text: str) -> list[str]:
    """Lines that are not blank."""
    return [line for line in text.split("\n") if any(is_wordy(c) or is_unspaced(c) or is_mark(c) for c in line)]


def share(part: float, whole: float) -> float:
    return part / max(1, whole)


def duplicates(units: list[str]) -> tuple[int, int]:
    seen: set[str] = set()
    again = [unit for unit in units if unit in seen or seen.add(unit)]  # type: ignore[func-returns-value]
    return len(again), sum(map(len, again))


def top_ngram(words: list[str], n: int) -> int:
    grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    if not grams:
        return 0
    gram, times = grams.most_common(1)[0]
    return len(" ".join(gram)) * times


def duplicate_ngrams(words: list[str], n: int) -> int:
    seen: set[tuple[str, ...]] = set()
    characters = at = 0
    while at + n <= len(words):
        gram = tuple(words[at : at + n])
        if gram in seen:
            characters += len("".join(gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return characters


def visible(line: str) -> str:
    return "".join(c for c in line if is_wordy(c) or is_unspaced(c) or is_mark(c))


def paragraphs_of(text: str) -> list[str]:
    kept = "\n".join(line if line in lines_of(line) or line == "" else "\0" for line in text.split("\n"))
    blocks = re.split(r"\n{2,}", kept.strip("\n"))
    return [block for block in ("\n".join(line for line in block.split("\n") if line != "\0") for block in blocks) if block]


def plain_statistics(text: str, terminal: set[str]) -> dict[str, float]:
    """All of `statistics.COLUMNS`."""
    found = tokens(text)
    words = [word for word, is_word in found if is_word]
    lines = lines_of(text)
    all_lines = text.split("\n")
    count, size = len(found), len(text)
    letters = sum(is_letter(c) or is_unspaced(c) for c in text)
    repeated, repeated_characters = duplicates(lines)
    paragraphs = paragraphs_of(text)
    repeated_paragraphs, repeated_paragraph_characters = duplicates(paragraphs)
    ends = [visible(line)[-1] for line in lines]
    top = Counter(words).most_common(1)
    whole = [token for token, _ in found]
    return {
        "bytes": len(text.encode()),
        "characters": size,
        "words": len(words),
        "punctuation": count - len(words),
        "mean_word_length": share(sum(map(len, words)), len(words)),
        "alphabetic_words": share(sum(any(is_letter(c) or is_unspaced(c) for c in word) for word in words), count),
        "stop_words": len({word.lower() for word in words if word.isascii()} & set(GOPHER_STOP_WORDS)),
        "hashes": share(text.count("#"), count),
        "ellipses": share(text.count("…") + sum(token.count("...") for token in whole if set(token) == {"."}), count),
        "lines": len(lines),
        "bullet_lines": share(sum(visible(line)[0] in "•-" for line in lines), len(lines)),
        "ellipsis_lines": share(sum(bool(re.search(r"(\.{3,}|…)$", line.rstrip() if visible(line)[-1] == line.rstrip()[-1] else line)) for line in lines), len(lines)),
        "longest_line": max(map(len, all_lines)),
        "mean_line": sum(map(len, all_lines)) / len(all_lines),
        "alphanumeric": share(letters + sum(map(is_number, text)), size),
        "letters": share(letters, size),
        "terminal_lines": share(sum(end in terminal for end in ends), len(lines)),
        "short_lines": share(sum(len(line) <= SHORT_LINE for line in lines), len(lines)),
        "newlines": share(text.count("\n"), count),
        "paragraphs": len(paragraphs),
        "duplicate_lines": share(repeated, len(lines)),
        "duplicate_line_characters": share(repeated_characters, size),
        "duplicate_paragraphs": share(repeated_paragraphs, len(paragraphs)),
        "duplicate_paragraph_characters": share(repeated_paragraph_characters, size),
        **{f"top_{n}gram": share(top_ngram(whole, n), size) for n in (2, 3, 4)},
        **{f"duplicate_{n}grams": share(duplicate_ngrams(whole, n), size) for n in range(5, 11)},
        "fineweb_duplicate_characters": share(repeated_characters, size - text.count("\n")),
        "top_word": share(top[0][1] if top else 0, len(words)),
        "top_word_alphabetic": float(bool(top) and all(is_letter(c) or is_unspaced(c) for c in top[0][0])),
    }  # fmt: skip
