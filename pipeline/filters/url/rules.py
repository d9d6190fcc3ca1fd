"""The family of URL rules: its settings, and what they say of a column of URLs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from kernel.utf8 import Bytes, Offsets, utf8_view
from pipeline.filters.check import Family, Judged, Judgement
from pipeline.filters.url.address import with_ascii_host
from pipeline.filters.url.judging import MOST_SOFT, NONE, OTHER_HOST, SOFT, SUBWORD, URL, Verdicts, judge_all
from pipeline.filters.url.lists import ROLES, Lists, absolute, category_files, read_lists, stamp
from pipeline.workdir.dataset import fingerprint

RULES = ("url_domain", "url_list", "url_hard_word", "url_soft_words", "url_subword")


class UrlRules(Family):
    """Lists by which documents are dropped for their URL. A document without a URL is kept."""

    domains: list[str] = Field(
        default_factory=list,
        description="Files of domains to block with all their subdomains, one a line (hosts files too); plain, .gz, .zst, .bz2 or .xz.",
    )
    urls: list[str] = Field(default_factory=list, description="Files of URLs to block with all that lies under them, one a line.")
    folders: list[str] = Field(
        default_factory=list, description="Folders laid out as UT1's: one folder a category, with files `domains` and `urls` in it."
    )
    categories: list[str] = Field(
        default_factory=list,
        description="Which categories of those folders (RefinedWeb: adult, phishing, dating, gambling ...); none: all.",
    )
    hard_words: list[str] = Field(
        default_factory=list, description="Files of words, any one of which drops a document (RefinedWeb's hard words)."
    )
    soft_words: list[str] = Field(default_factory=list, description="Files of words of which `soft_limit` different ones are needed.")
    soft_limit: int = Field(2, ge=1, le=MOST_SOFT, description="Fewest different soft words that drop a document (RefinedWeb: 2).")
    subwords: list[str] = Field(
        default_factory=list,
        description="Files of words that drop a document wherever they stand, even inside other words (RefinedWeb's strict matching).",
    )
    exempt: list[str] = Field(
        default_factory=list, description="Files of domains that nothing here drops: high-quality sources (RefinedWeb G.1.4)."
    )

    def resolved(self, base: Path) -> Self:
        """The same with absolute paths; relative ones are relative to `base`."""
        names = ("domains", "urls", "folders", "hard_words", "soft_words", "subwords", "exempt")
        return self.model_copy(update={name: [absolute(path, base) for path in getattr(self, name)] for name in names})

    def fingerprint(self) -> str:
        """Changes whenever the rules or the contents of the lists change. Raises `UserError` where a list cannot be read."""
        return fingerprint(self.soft_limit, self._lists().content)

    def judge(self, urls: pa.Array | pa.ChunkedArray) -> UrlJudgement:
        """What each URL of a string column is dropped for. Raises `UserError` where a list cannot be read."""
        return _judge(urls, self._lists(), self.soft_limit)

    def columns(self) -> frozenset[str]:
        return frozenset({"url"})

    def apply(self, statistics: pa.Table) -> Judged:
        found = self.judge(statistics["url"])
        rules = np.array(found.rule, object)
        return Judged([Judgement(rule, found.failed & (rules == rule), found.value, found.limit, found.detail) for rule in RULES])

    def _lists(self) -> Lists:
        paths = [(role, path) for role in ROLES for path in getattr(self, role)]
        for folder in self.folders:
            paths += category_files(folder, frozenset(self.categories))
        return read_lists(tuple((role, path, *stamp(path)) for role, path in paths))


class UrlJudgement(NamedTuple):
    """One row a URL. `limit` is the most of `value` that is kept; `detail` names the entry, `rule` is of `RULES`."""

    failed: npt.NDArray[np.bool_]
    value: npt.NDArray[np.float64]
    limit: npt.NDArray[np.float64]
    detail: list[str | None]
    rule: list[str | None]


def _run(offsets: Offsets, data: Bytes, lists: Lists, soft_limit: int) -> Verdicts:
    rows = len(offsets) - 1
    verdicts = Verdicts(np.zeros(rows, np.uint8), np.zeros(rows, np.int32), np.zeros((rows, 2), np.int64))
    judge_all(offsets, data, lists.tables, soft_limit, verdicts)
    return verdicts


def _judge(urls: pa.Array | pa.ChunkedArray, lists: Lists, soft_limit: int) -> UrlJudgement:
    offsets, data = utf8_view(urls)
    rule, value, spans = _run(offsets, data, lists, soft_limit)
    detail: list[str | None] = [None] * len(rule)
    for row in np.flatnonzero(rule).tolist():
        if rule[row] != OTHER_HOST:
            detail[row] = _detail(rule[row], spans[row], data, lists)
            continue
        # a host in other letters than ASCII is judged as punycode; one that is no name at all by its words alone
        raw = data[offsets[row] : offsets[row + 1]].tobytes()
        mended = np.frombuffer(with_ascii_host(raw) or b"/" + raw, np.uint8)
        one_rule, one_value, one_span = _run(np.array([0, len(mended)]), mended, lists, soft_limit)
        rule[row], value[row] = one_rule[0], one_value[0]
        detail[row] = _detail(one_rule[0], one_span[0], mended, lists) if one_rule[0] else None
    limits = np.array([np.nan, 0, 0, 0, soft_limit - 1, 0])
    names = (None, *RULES)
    failed = rule != NONE
    return UrlJudgement(
        failed,
        np.where(failed, value.astype(np.float64), np.nan),
        limits[rule],
        detail,
        [names[index] for index in rule.tolist()],
    )


def _detail(rule: int, span: Offsets, data: Bytes, lists: Lists) -> str:
    if rule == SUBWORD:
        return lists.subwords[int(span[0])]
    text: str = data[span[0] : span[1]].tobytes().decode("utf-8", "replace")
    if rule == SOFT:
        words = "".join(c if c.isascii() and c.isalnum() else " " for c in unquote(text, "latin-1").lower()).split()
        return " ".join(dict.fromkeys(word for word in words if word in lists.soft))
    return text if rule == URL else text.lower()
