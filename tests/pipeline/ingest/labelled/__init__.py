"""Texts with and without personal data and secrets, written for this project, that say which masks belong where.

`development.jsonl` was there while the rules were written, `held-out.jsonl` was written last. Each line has `text`, `domain`, and `spans`:
kind, begin and end in characters. A text without spans is a hard negative. `python -m tests.pipeline.ingest.labelled.write` writes both anew
from the templates, with fixed seeds. The development's are those of three rounds: each was measured before the rules saw it, as its file
says. All names, domains and tokens are made of nonsense; telephone numbers are of ranges reserved for fiction where a country has one.
"""
