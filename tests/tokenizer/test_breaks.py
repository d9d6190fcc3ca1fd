"""Break flags against the texts of tokens, and against splits of real sentences."""

from __future__ import annotations

from pathlib import Path

import tokenizer
from tokenizer.breaks import BEGINS_WITH_SPACE, ENDS_LINE, ENDS_PARAGRAPH, ENDS_SENTENCE, break_flags

TEXT = """The first sentence. Is it "quoted?" It is (so it seems.) And 3.14 is none.

A paragraph\twith a tab!
    return x
\u4e2d\u6587\u3002 Done\u2026
""".replace("    ", "    ")


def test_flags_say_what_tokens_end_and_begin_with(tmp_path: Path) -> None:
    config = tokenizer.TokenizerConfig(vocab_size=576)
    tokenizer.write(tokenizer.train([TEXT] * 50, config), config, tmp_path, {})
    flags = break_flags(tmp_path)
    loaded = tokenizer.load(tmp_path)
    assert len(flags) == loaded.get_vocab_size()
    for number in range(len(flags)):
        text = loaded.decode([number], skip_special_tokens=False)
        if (loaded.id_to_token(number) or "").startswith("["):
            assert text != loaded.id_to_token(number) or flags[number] == 0 or len(text) == 1
            continue
        if "\ufffd" in text:  # part of a character
            continue
        assert bool(flags[number] & BEGINS_WITH_SPACE) == text[:1].isspace(), text
        assert bool(flags[number] & (ENDS_LINE | ENDS_PARAGRAPH)) == text.rstrip(" \t").endswith("\n"), text
        assert bool(flags[number] & ENDS_PARAGRAPH) == text.rstrip(" \t").endswith("\n\n"), text
        if text.strip() in (".", "!", "?", '?"', ".)"):
            assert flags[number] & ENDS_SENTENCE
        if text.strip().isalnum():
            assert not flags[number] & ENDS_SENTENCE
    ids = loaded.encode(TEXT, add_special_tokens=False).ids
    ends = [n for n in range(1, len(ids)) if flags[ids[n - 1]] & ENDS_SENTENCE and flags[ids[n]] & BEGINS_WITH_SPACE]
    said = [loaded.decode(ids[a:b]).strip() for a, b in zip([0, *ends], [*ends, len(ids)], strict=True)]
    assert said[0] == "The first sentence."
    assert "And 3.14 is none." in said
