"""Folders and URIs, taken apart."""

from __future__ import annotations

import pickle
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import Refused
from storage.filesystems import opened
from storage.location import Location, scrub
from tests.profiles import share


def test_what_lies_below_a_uri_keeps_the_uris_query() -> None:
    def below(place: str, *names: str) -> str:
        return Location.parse(place).below(*names).uri

    assert below("/work/mine", "runs", "one") == "/work/mine/runs/one"
    assert below("/work/what?", "runs") == "/work/what?/runs"
    assert below("s3://bucket/mine/", "runs", "one") == "s3://bucket/mine/runs/one"
    assert below("s3://bucket/mine?endpoint_override=host:9000&scheme=http", "runs") == (
        "s3://bucket/mine/runs?endpoint_override=host:9000&scheme=http"
    )


def test_a_uri_is_taken_apart_as_the_standard_library_does() -> None:
    for uri in ("s3://key:secret@bucket/a/b?region=x&scheme=http", "hdfs://host:9000/a@b", "https://host/x?key=a", "gs://bucket"):
        location, parts = Location.parse(uri), urlsplit(uri)
        assert (location.scheme, location.path, location.user, location.password) == (
            parts.scheme,
            parts.path,
            parts.username,
            parts.password,
        )
        assert location.host == parts.netloc.rpartition("@")[2]
        assert "&".join(f"{name}={value}" for name, value in location.options) == parts.query
        assert location.uri == uri
    assert Location.parse("s3://bucket/a?/*.txt").path == "/a?/*.txt", "a glob's question mark"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://key:secret@bucket/x", "s3://key:***@bucket/x"),
        ("s3://key:sec/ret@bucket/x", "s3://key:***@bucket/x"),
        ("s3://bucket/x?region=eu&secret_key=secret", "s3://bucket/x?region=eu&secret_key=***"),
        ("https://host/a.gz?X-Amz-Signature=secret&X-Amz-Date=2020", "https://host/a.gz?X-Amz-Signature=***&X-Amz-Date=***"),
        ("https://host/a.gz?sv=1&sig=secret", "https://host/a.gz?sv=1&sig=***"),
        ("https://secret@host/a.gz", "https://***@host/a.gz"),
        ("hdfs://user@host:9000/a@b", "hdfs://user@host:9000/a@b"),
        ("abfs://container@account.dfs.core.windows.net/x", "abfs://container@account.dfs.core.windows.net/x"),
        ("/data/a:b@c?token=d", "/data/a:b@c?token=d"),
    ],
)
def test_a_place_is_shown_without_its_secrets(uri: str, shown: str) -> None:
    location = Location.parse(uri)
    assert str(location) == repr(location) == f"{location}" == shown
    assert location.uri == uri
    assert pickle.loads(pickle.dumps(location)) == location
    assert location.below("a").uri != str(location.below("a")) or uri == shown


def test_texts_are_shown_without_the_secrets_in_them() -> None:
    assert scrub("s3://key:secret@bucket/x is not there") == "s3://key:***@bucket/x is not there"
    assert scrub("hdfs://host:9000/a@b") == "hdfs://host:9000/a@b"
    location = Location.parse("s3://key:se%2Fcret@bucket/x?token=to%20ken")
    for told in ("the key se/cret is wrong", "se%2Fcret is", "with to ken", "GET /x?token=to%20ken&a=b"):
        shown = location.scrub(told)
        assert "***" in shown
        assert "cret" not in shown
        assert "ken" not in shown.replace("token", "")


@settings(max_examples=share(1))
@given(st.text("ab:@/?=&%. *", max_size=20), st.sampled_from(["s3://", "https://", "file:///", ""]))
def test_any_text_is_a_place_and_comes_back_whole(text: str, scheme: str) -> None:
    location = Location.parse(scheme + text)
    assert location.uri == scheme + text
    str(location.below("x"))


def test_secrets_are_lent_to_other_processes_for_places_that_are_written_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDRY_SECRETS", "{}")
    written = {}
    for uri in ("s3://key:secret@one/x?region=eu&token=t1", "s3://key:other@two/y", "https://host/z?sig=abc"):
        Location.parse(uri).lend()
        written[str(Location.parse(uri).below("more"))] = Location.parse(uri).below("more").uri
    for shown, true in written.items():
        assert shown != true
        assert Location.parse(shown).uri == true
    stranger = Location.parse("s3://key:***@three/x")
    assert stranger.uri == "s3://key:***@three/x"
    with pytest.raises(Refused, match="its secret was left out where it was written.; give it by the environment, as AWS_ACCESS_KEY_ID"):
        opened(stranger)
