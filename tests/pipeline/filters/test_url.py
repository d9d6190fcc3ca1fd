"""URL rules: each list and its boundaries; datatrove's decisions; a slow plain version; hostile URLs."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filters.url import UrlRules
from pipeline.workdir.errors import UserError
from tests.profiles import share
from tests.work import in_proportion


def lists(folder: Path, **contents: str) -> UrlRules:
    settings: dict[str, Any] = {}
    for role, text in contents.items():
        (folder / role).write_text(text, encoding="utf-8")
        settings[role] = [str(folder / role)]
    return UrlRules(**settings)


def judged(rules: UrlRules, *urls: str | None) -> list[str | None]:
    return rules.judge(pa.array(urls, pa.string())).rule


BLOCKED = (
    "bad.org\n# comment.org\nWWW.Casino.example\n*.wild.net\n.dotted.net\n0.0.0.0 hosts.example\nmünchen.example\nb.example.co.uk\ncom\n\n"
)


@pytest.mark.parametrize(
    ("url", "blocked"),
    [
        ("http://bad.org/x", "bad.org"),
        ("https://user:pw@sub.BAD.org:8080/x", "bad.org"),
        ("bad.org", "bad.org"),
        ("//bad.org./", "bad.org"),
        ("http://www.bad.org?x=1", "bad.org"),
        ("http://casino.example/", "casino.example"),
        ("http://a.wild.net/", "wild.net"),
        ("http://dotted.net/", "dotted.net"),
        ("http://hosts.example/", "hosts.example"),
        ("http://www.xn--mnchen-3ya.example/a", "xn--mnchen-3ya.example"),
        ("http://MÜNCHEN.example/a", "xn--mnchen-3ya.example"),
        ("http://b%61d.org/", "bad.org"),
        ("http://a.b.example.co.uk/", "b.example.co.uk"),
        ("http://notbad.org/", None),
        ("http://bad.org.example.com/", None),
        ("http://good.org/bad.org", None),
        ("http://good.org@/bad.org", None),
        ("http://comment.org/", None),
        ("http://any.com/", None),
        ("http://0.0.0.0/", None),
        ("http://[::1]:80/", None),
        ("", None),
        (None, None),
        ("http://", None),
        ("%", None),
        ("http://ü%ff/", None),
    ],
)
def test_a_domain_is_blocked_with_all_under_it_however_it_is_written(tmp_path: Path, url: str | None, blocked: str | None) -> None:
    judgement = lists(tmp_path, domains=BLOCKED).judge(pa.array([url], pa.string()))
    assert judgement.detail == [blocked]
    assert judgement.rule == [None if blocked is None else "url_domain"]
    assert judgement.failed.tolist() == [blocked is not None]


@pytest.mark.parametrize(
    ("url", "blocked"),
    [
        ("http://host.org/~user", True),
        ("https://www.host.org:443/%7Euser/", True),
        ("http://host.org/~user/page.html?x#y", True),
        ("http://host.org/~user?x", True),
        ("http://host.org/~users", False),
        ("http://sub.host.org/~user", False),
        ("http://host.org/", False),
        ("http://host.org/%7e%75ser#z", True),
        ("http://q.org/p?id=7", True),
        ("http://q.org/p?id=71", False),
        ("http://q.org/p", False),
        ("http://e.org/%e2%82%ac", True),
    ],
)
def test_a_listed_url_blocks_what_lies_under_it(tmp_path: Path, url: str, blocked: bool) -> None:
    rules = lists(tmp_path, urls="http://host.org/~user/\nq.org/p?id=7\ne.org/%E2%82%AC\n")
    assert judged(rules, url) == ["url_list" if blocked else None]


def test_words_count_by_their_kind(tmp_path: Path) -> None:
    rules = lists(tmp_path, hard_words="Hard\n#no\n", soft_words="one\ntwo\nthree\n", subwords="sub word\n", exempt="fine.org\n")
    urls = ["http://a.org/hard-x", "http://a.org/hardly", "http://a.org/HARD", "http://a.org/%68ard", "http://a.org/no"]
    urls += ["http://one.org/two", "http://one.org/one", "http://a.org/x%20one%20two", "http://fine.org/hard", "http://x.fine.org/one-two"]
    urls += ["http://a-sub.word.org/", "http://a.org/sub/w/ord"]
    judgement = rules.judge(pa.array(urls))
    hard, soft, sub = "url_hard_word", "url_soft_words", "url_subword"
    assert judgement.rule == [hard, None, hard, hard, None, soft, None, soft, None, None, sub, sub]
    assert judgement.detail[5] == judgement.detail[7] == "one two"
    assert judgement.detail[10] == "subword"
    assert (judgement.value[5], judgement.limit[5]) == (2, 1)
    assert judged(rules.model_copy(update={"soft_limit": 1}), "http://one.org/one") == [soft]


def test_lists_are_read_compressed_from_category_folders_and_relative_to_the_recipe(tmp_path: Path) -> None:
    for category, domains in (("adult", "a.org\n"), ("phishing", "p.org\n")):
        (tmp_path / "ut1" / category).mkdir(parents=True)
        (tmp_path / "ut1" / category / "domains").write_text(domains)
    (tmp_path / "ut1" / "adult" / "urls").write_text("u.org/x\n")
    (tmp_path / "more.gz").write_bytes(gzip.compress(b"g.org\r\n"))
    (tmp_path / "more.zst").write_bytes(zstandard.compress(b"z.org"))
    urls = ["http://a.org", "http://p.org", "http://u.org/x/y", "http://g.org", "http://z.org"]
    rules = UrlRules(folders=["ut1"], domains=["more.gz", "more.zst"]).resolved(tmp_path)
    assert all(judged(rules, *urls))
    assert judged(rules.model_copy(update={"categories": ["phishing"], "domains": []}), *urls) == [None, "url_domain", None, None, None]


def test_the_fingerprint_is_that_of_the_contents(tmp_path: Path) -> None:
    rules = lists(tmp_path, domains="a.org\n")
    first = rules.fingerprint()
    other = tmp_path / "other"
    other.mkdir()
    assert lists(other, domains="a.org\n").fingerprint() == first
    (tmp_path / "domains").write_text("a.org\nb.org\n")
    assert rules.fingerprint() != first
    assert judged(rules, "http://b.org/") == ["url_domain"]
    assert lists(other, exempt="a.org\n").fingerprint() != first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"domains": ["missing"]}, "missing: this list of URL rules cannot be read"),
        ({"domains": ["bad.gz"]}, "bad.gz: this list of URL rules cannot be read"),
        ({"folders": ["nowhere"]}, "no such folder of block lists"),
        ({"folders": ["empty"]}, "no file CATEGORY/domains"),
        ({"folders": ["empty"], "categories": ["adult"]}, "no category adult"),
    ],
)
def test_lists_that_cannot_be_read_are_one_line(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    (tmp_path / "bad.gz").write_bytes(b"not gzip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message) as error:
        UrlRules(**settings).resolved(tmp_path).judge(pa.array(["http://a.org"]))
    assert "\n" not in str(error.value)


HOSTS = st.lists(st.sampled_from(["a", "b", "co", "uk", "www", "x-1", "hard", "two"]), min_size=1, max_size=4).map(".".join)
PATHS = st.text("ab/-_.%?=", max_size=8) | st.sampled_from(["/hard", "/one/two", "/oneTWO", "/xsuby", ""])


def by_hand(url: str, domains: set[str], hard: set[str], soft: set[str], subwords: set[str]) -> str | None:
    """For URLs without percent-encoding, users and ports."""
    host = re.split("[/?]", url.removeprefix("http://"))[0].rstrip(".")
    labels = host.split(".")
    if any(".".join(labels[i:]) in domains for i in range(len(labels))):
        return "url_domain"
    words = set(re.split("[^a-z0-9]+", url.lower()))
    if words & hard:
        return "url_hard_word"
    if len(words & soft) >= 2:
        return "url_soft_words"
    joined = re.sub("[^a-z0-9]", "", url.lower())
    return "url_subword" if any(word in joined for word in subwords) else None


@settings(max_examples=share(4))
@given(
    st.lists(st.builds("http://{}{}".format, HOSTS, PATHS).filter(lambda u: "%" not in u), min_size=1, max_size=5),
    st.sets(HOSTS, max_size=5),
)
def test_decisions_are_those_of_plain_python(tmp_path: Path, urls: list[str], domains: set[str]) -> None:
    usable = {domain for domain in domains if "." in domain and not domain.startswith("www.")}
    words = {"hard": {"hard"}, "soft": {"one", "two", "a"}, "subwords": {"sub", "x1a"}}
    rules = lists(tmp_path, domains="\n".join(usable), hard_words="hard", soft_words="one\ntwo\na", subwords="sub\nx-1a")
    assert judged(rules, *urls) == [by_hand(url, usable, **words) for url in urls]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.text("htp:/@.%[]?#\\ww41é", max_size=30), max_size=5))
def test_no_url_is_too_odd(tmp_path: Path, urls: list[str]) -> None:
    rules = lists(tmp_path, domains=BLOCKED, urls="a.org/b", hard_words="x", soft_words="y", subwords="z", exempt="w.org")
    judgement = rules.judge(pa.chunked_array([pa.array(urls, pa.string()), pa.array([None], pa.string())]))
    assert len(judgement.rule) == len(urls) + 1
    lists(tmp_path, domains="\n".join(urls), urls="\n".join(urls), subwords="\n".join(urls), exempt="\n".join(urls)).judge(
        pa.array(urls, pa.string())
    )


@pytest.mark.parametrize("piece", ["@", "a.", ".", "%41", "/a", "a-", "é.", "%41.", "www.", "://", ":", "[", "?", "#"])
def test_a_hostile_megabyte_takes_steps_in_proportion(tmp_path: Path, piece: str) -> None:
    rules = lists(tmp_path, domains=BLOCKED, urls="a.org/b", hard_words="x", soft_words="y", subwords="aab")
    rules.judge(pa.array(["http://é.org"]))
    in_proportion(lambda rest: rules.judge(pa.array([f"http://{rest}"])), piece * (1_000_000 // len(piece.encode())))


def test_decisions_agree_with_datatroves_but_for_the_causes_named(tmp_path: Path, real_data: Path) -> None:
    url_filter = pytest.importorskip("datatrove.pipeline.filters.url_filter")
    pytest.importorskip("ahocorasick")
    tldextract = pytest.importorskip("tldextract")
    from datatrove.data import Document

    assets = Path(url_filter.ASSETS_PATH)
    if not (assets / "banned_words.txt").exists():
        pytest.skip("datatrove ships no lists here")
    with (real_data / "web" / "pages.warc.gz").open("rb") as raw:
        records = gzip.decompress(raw.read())
    seen = re.findall(rb"WARC-Target-URI: <?([^\r\n>]+)", records) + re.findall(rb"https?://[A-Za-z0-9./?&=%_+-]{8,200}", records)
    urls = sorted({url.decode("utf-8", "ignore") for url in seen})
    assert len(urls) > 3000
    hosts = {url.split("/")[2].lower().removeprefix("www.") for url in urls if url.count("/") > 2}
    domains = sorted(host for host in hosts if re.fullmatch(r"([a-z0-9-]+\.)+[a-z]+", host))[::7]
    words = {name: (assets / f"{name}.txt").read_text() for name in ("banned_words", "soft_banned_words", "banned_subwords")}
    peer = url_filter.URLFilter(
        extra_domains=domains,
        banned_words=words["banned_words"].splitlines(),
        soft_banned_words=words["soft_banned_words"].splitlines(),
        banned_subwords=words["banned_subwords"].splitlines(),
        use_integrated_lists=False,
    )
    peer.tldextractor = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    ours = lists(
        tmp_path,
        domains="\n".join(domains),
        hard_words=words["banned_words"],
        soft_words=words["soft_banned_words"],
        subwords=words["banned_subwords"],
    )
    judgement = ours.judge(pa.array(urls))
    names = {"domain": "url_domain", "subdomain": "url_domain", "hard_blacklisted": "url_hard_word", "soft_blacklisted": "url_soft_words"}
    names["blacklisted_subword"] = "url_subword"
    agreed, unexplained = 0, []
    for url, rule, detail in zip(urls, judgement.rule, judgement.detail, strict=True):
        verdict = peer.filter(Document(text="", id="", metadata={"url": url}))
        theirs = None if verdict is True else names[verdict[1]]
        if theirs == rule:
            agreed += 1
        elif not (
            (rule == "url_domain" and detail is not None and f".{detail}" in f".{url.lower()}")  # under a listed domain
            or ("%" in url and rule != "url_domain")
            or (url != url.lower() and rule in ("url_hard_word", "url_soft_words"))
        ):
            unexplained.append((url, theirs, rule))
    assert not unexplained
    assert agreed >= 0.98 * len(urls)
    assert sum(rule is not None for rule in judgement.rule) > 100
