"""Copies that are written otherwise: near-duplicates in eight languages beside English, and items of evaluation sets in every spelling.

    python -m benchmarks.copies [--quick]

Documents are of 300 words of each language's text in `tests/kernel/data/icu-words.json`, drawn at random; in their copies words are
replaced by others of that text. Documents of all languages have the same edits at the same places. A copy is found where it shares one
of FineWeb's bands with its original (5 words, 14 bands of 8) and their true similarity is at least FineWeb's 0.75.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.results_file import Row, show, write
from pipeline.contamination.ngrams import NgramSet, find_ngrams, ngram_hashes
from pipeline.dedup.shingles import shingle_sets, signatures
from pipeline.ingest.canonical import Ingesting, ingested
from pipeline.ingest.stage import IngestConfig

WORDS_FILE = Path(__file__).parents[1] / "tests" / "kernel" / "data" / "icu-words.json"
LANGUAGES = ("de", "ru", "ar", "hi", "ko", "zh", "ja", "th")
RATES = (0.005, 0.01, 0.02)
SEEDS = (1, 2, 3)  # of the permutations
BETWEEN = dict.fromkeys(("en", "de", "ru", "ko", "hi", "ar"), " ") | {"bo": "་"}  # what stands between the words of a language
WORDS, A_LINE, PAIRS = 300, 15, 1000
NGRAM = 13

# One item in the spellings that corpora have; the last is how the others should read.
GERMAN = "Jeden Morgen bäckt die müde Bäckerin zwölf Bleche süßer Brötchen für die fröhlichen Gäste der schönen Gärten über dem Tal"
VIETNAMESE = "Mỗi buổi sáng người thợ làm bánh nướng mười hai khay bánh mì rồi bán gần hết ở chợ quê nhà"
KOREAN = "매일 아침 제빵사는 열두 판의 빵을 굽고 시장에서 거의 모두 팔아 저녁에는 동전을 세며 집으로 돌아온다 오늘도 그렇다"
ENGLISH = "the efficient baker of our office first fills twelve trays with flat loaves & then sells “nearly all” of them at the market"
CONTACTS = "write to anna.baker@bakery-example.org or call +49 30 1234567 before noon and ask for twelve trays of bread for the feast"
SPELLINGS = {
    "plain": (GERMAN, GERMAN),
    "decomposed, German": (unicodedata.normalize("NFD", GERMAN), GERMAN),
    "decomposed, Vietnamese": (unicodedata.normalize("NFD", VIETNAMESE), VIETNAMESE),
    "decomposed, Korean": (unicodedata.normalize("NFD", KOREAN), KOREAN),
    "entities": (html.escape(ENGLISH).replace("“", "&ldquo;").replace("”", "&rdquo;"), ENGLISH),
    "numeric entities": ("".join(f"&#{ord(c)};" if ord(c) > 127 else c for c in GERMAN), GERMAN),
    "mojibake": (GERMAN.encode().decode("windows-1252"), GERMAN),
    "soft hyphens": (re.sub(r"(\w{4})(\w{3})", "\\1\u00ad\\2", GERMAN), GERMAN),
    "zero-width spaces": (ENGLISH.replace("effi", "effi\u200b").replace("mark", "mark\u2060"), ENGLISH),
    "contacts": (CONTACTS, CONTACTS),
    "ligatures": (ENGLISH.replace("ffi", "ﬃ").replace("fi", "ﬁ").replace("fl", "ﬂ"), ENGLISH),
    "full width": ("".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else "\u3000" if c == " " else c for c in ENGLISH), ENGLISH),
    "capitals and line ends": (ENGLISH.upper().replace(" ", "\r\n", 3), ENGLISH),
    "marks": (ENGLISH.replace(" ", ", ").replace("“", "«"), ENGLISH),
}


@cache
def _vocabulary(language: str) -> list[str]:
    return sorted(set(json.loads(WORDS_FILE.read_text(encoding="utf-8"))[language]["words"]))


def copies(language: str, rate: float, pairs: int) -> list[str]:
    """So many documents of a language, each followed by a copy with words replaced at that rate."""
    vocabulary = _vocabulary(language)
    texts = []
    for number in range(pairs):
        drawn, place, other = np.random.default_rng((number, WORDS)).random((3, WORDS))
        words = (drawn * len(vocabulary)).astype(int)
        edited = np.where(place < rate, (other * len(vocabulary)).astype(int), words)
        for version in (words, edited):
            lines = [version[at : at + A_LINE] for at in range(0, WORDS, A_LINE)]
            texts.append("\n".join(BETWEEN.get(language, "").join(vocabulary[word] for word in line) for line in lines))
    return texts


def recall(language: str, rate: float, pairs: int) -> float:
    """The share of the copies that are found, the mean of SEEDS: by one alone it varies by a point."""
    texts = pa.array(copies(language, rate, pairs))
    offsets, hashes = shingle_sets(texts, 5)
    sets = [set(hashes[a:b].tolist()) for a, b in pairwise(offsets)]
    similar = [len(a & b) >= 0.75 * len(a | b) for a, b in zip(sets[::2], sets[1::2], strict=True)]
    found = []
    for seed in SEEDS:
        bands = signatures(texts, 5, 112, seed)[0].reshape(pairs, 2, 14, 8)
        found.append(np.mean((bands[:, 0] == bands[:, 1]).all(2).any(1) & similar))
    return float(np.mean(found))


def items_found(config: IngestConfig, *, mended: bool) -> list[str]:
    """The spellings that are found in a document that holds the item's bytes, or (`mended`) what it should have been."""
    filler = "Words that no item has stand before it and after it, as many as make a page of a book."
    ingesting, found = Ingesting(config, ("web",)), []
    for name, spellings in SPELLINGS.items():
        hashes = np.unique(np.concatenate([ngram_hashes(form, NGRAM) for form in ingesting.forms(spellings[0])]))
        text = ingested(f"{filler}\n{spellings[mended]}\n{filler}", "web", config)
        if len(find_ngrams(pa.array([text]), NgramSet.of(hashes, np.array([NGRAM]))).ngram):
            found.append(name)
    return found


def rows(pairs: int) -> Iterator[Row]:
    """All figures."""
    for rate in RATES:
        english = 100 * recall("en", rate, pairs)
        what = f"copies found where 1 word of {1 / rate:.0f} is replaced"
        yield Row(f"{what}: en", "%", english)
        for language in LANGUAGES:
            yield Row(f"{what}: {language}", "%", 100 * recall(language, rate, pairs), goal=english - 2)
    many = len(SPELLINGS)
    for what, config in (("repaired and masked", IngestConfig()), ("as it lies", IngestConfig(repair=False, personal=False))):
        share = 100 * len(items_found(config, mended=False)) / many
        yield Row(f"items of {many} spellings found where a corpus, {what}, has their bytes", "%", share, goal=100)
    share = 100 * len(items_found(IngestConfig(), mended=True)) / many
    yield Row(f"items of {many} spellings found where a corpus has what they should have been", "%", share, goal=100)


def main() -> None:
    """Run all, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer documents; nothing is written")
    options = parser.parse_args()
    found = list(rows(PAIRS // 5 if options.quick else PAIRS))
    show(found)
    if not options.quick:
        print(write("copies", found, ("numba", "pyarrow", "ftfy")))


if __name__ == "__main__":
    main()
