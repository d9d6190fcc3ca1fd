"""Where a text may be split, told from its ids alone: which tokens end a line or a sentence, and which begin or go on with a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tokenizer.alphabet import visible_bytes
from tokenizer.folder import load

ENDS_SENTENCE, ENDS_LINE, ENDS_PARAGRAPH, BEGINS_WITH_SPACE, CONTINUES_WORD = 1, 2, 4, 8, 16  # bits
_CLOSING = "\"'”’»)]}*_"
_TERMINAL = ".!?…。！？؟।"


def break_flags(folder: Path) -> npt.NDArray[np.uint8]:
    """For each id of a tokenizer folder the bits above: uint8 (vocabulary,). Raises `TokenizerError`.

    A token ends a paragraph if its text ends in two line feeds, a line if in one, a sentence if in a terminal mark (perhaps
    with closing quotes or brackets after it).
    """
    tokenizer = load(folder)
    byte_of = {character: byte for byte, character in enumerate(visible_bytes())}
    flags = np.zeros(tokenizer.get_vocab_size(), np.uint8)
    added = tokenizer.get_added_tokens_decoder()
    for token, number in tokenizer.get_vocab().items():
        if number in added:
            if added[number].special or token.startswith("["):
                continue  # no text
            raw = token.encode()  # such as a run of spaces: added tokens stand as they are
        else:
            raw = bytes(byte_of[character] for character in token)
        text = raw.decode("utf-8", errors="ignore")
        flag = CONTINUES_WORD if text[:1].isalnum() or raw[:1] != text[:1].encode()[:1] else 0
        if text[:1].isspace():
            flag |= BEGINS_WITH_SPACE
        stripped = text.rstrip(" \t")
        if stripped.endswith("\n"):
            flag |= ENDS_PARAGRAPH if stripped.count("\n") - stripped.rstrip("\n").count("\n") > 1 else ENDS_LINE
        elif text.strip().rstrip(_CLOSING)[-1:] and text.strip().rstrip(_CLOSING)[-1] in _TERMINAL:
            flag |= ENDS_SENTENCE
        flags[number] = flag
    return flags
