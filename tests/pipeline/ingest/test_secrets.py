"""Secrets: found as their table and detect-secrets' plugins say, in linear time, and masked."""

from __future__ import annotations

import base64
import random
import re
import string
from pathlib import Path
from typing import Any

import pytest
from detect_secrets.plugins import (
    artifactory,
    aws,
    azure_storage_key,
    github_token,
    gitlab_token,
    npm,
    openai,
    pypi_token,
    sendgrid,
    square_oauth,
)
from detect_secrets.plugins.base import RegexBasedDetector
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.ingest import secrets, tokens
from pipeline.ingest.data import rows
from pipeline.ingest.secrets import SecretsConfig, mask_secrets
from tests.pipeline.ingest.pieces import every_piece
from tests.pipeline.matcher import parser
from tests.profiles import share
from tests.work import in_proportion


def token(seed: int, alphabet: str, length: int) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


ALNUM = string.ascii_letters + string.digits
LOWER = string.ascii_lowercase + string.digits
HEX = "0123456789abcdef"
HEADER, CLAIMS = (
    base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"1234567890"}')
)
# Made up for these tests: what detect-secrets knows, none of it anybody's. Put together here so that no scanner takes this file for a leak.
TOKENS = {
    "Artifactory key": "AKC" + token(1, ALNUM, 20),
    "AWS access key": "AKIA" + token(2, string.ascii_uppercase + string.digits, 16),
    "AWS secret key": "aws_secret_key = '" + token(30, ALNUM, 40) + "'",
    "Azure storage key": "AccountKey=" + token(3, ALNUM, 86) + "==",
    "Discord bot": "MTA" + token(4, ALNUM, 21) + "." + token(5, ALNUM, 6) + "." + token(6, ALNUM, 27),
    "GitHub": "ghp" + "_" + token(7, ALNUM, 36),
    "GitLab": "glpat" + "-" + token(8, ALNUM, 20),
    "JSON Web Token": f"{HEADER}.{CLAIMS}.{token(9, ALNUM, 43)}",
    "Mailchimp": token(10, HEX, 32) + "-us7",
    "npm": "//registry.example.org/:_authToken=" + "npm_" + token(11, ALNUM, 36),
    "OpenAI": "sk" + "-" + token(12, ALNUM, 20) + "T3Blbk" + "FJ" + token(13, ALNUM, 20),
    "PyPI": "pypi-AgEIcHlwaS5" + "vcmc" + token(14, ALNUM, 80),
    "SendGrid": "SG." + token(15, ALNUM, 22) + "." + token(16, ALNUM, 43),
    "Slack bot": "xoxb" + "-123456789012-" + token(17, LOWER, 24),
    "Square": "sq0csp" + "-" + token(18, ALNUM, 43),
    "Stripe": "sk" + "_live_" + token(19, ALNUM, 24),
    "Telegram": "110201543:AA" + token(20, ALNUM, 33),
    "Twilio": "SK" + token(21, HEX, 32),
    "SoftLayer": "softlayer_api_key = " + token(22, LOWER, 64),
    "IBM Cloud": "ibm_cloud_api_key: " + token(23, ALNUM, 44),
    "IBM object storage": "cos_hmac_secret_access_key = " + token(24, HEX, 48),
    "Cloudant": "cloudant_password = " + token(25, HEX, 64),
    "Hex High Entropy String": f"key = '{token(26, HEX, 30)}'",
    "Base64 High Entropy String": f'x = "{token(27, ALNUM, 44)}"',
    "Basic Auth Credentials": "https://admin:" + token(28, ALNUM, 12) + "@example.org/",
}


@pytest.mark.parametrize("kind", TOKENS)
def test_each_kind_of_token_is_masked_and_what_stands_around_it_is_not(kind: str) -> None:
    text = f"first line\n{TOKENS[kind]}\nlast line\n"
    masked, counts = mask_secrets(text)
    assert kind in counts
    assert masked.startswith("first line\n")
    assert masked.endswith("last line\n")
    assert "<KEY>" in masked or "<PASSWORD>" in masked
    assert not re.search(r"[A-Za-z0-9]{18,}", masked.split("\n")[1].replace("registry", ""))


def test_quotes_around_a_token_are_left() -> None:
    assert mask_secrets(f'x = "{TOKENS["Artifactory key"]}"\n')[0] == 'x = "<KEY>"\n'


def test_a_secret_is_masked_wherever_it_stands() -> None:
    key = token(27, ALNUM, 44)
    masked, counts = mask_secrets(f'a = "{key}"\n# {key} again\n')
    assert masked == 'a = "<KEY>"\n# <KEY> again\n'
    assert counts == {"Base64 High Entropy String": 2}


def test_the_body_of_a_private_key_is_masked_and_a_mention_of_one_is_not() -> None:
    kind = "RSA PRIVATE KEY"
    body = "\n".join(token(seed, ALNUM, 64) for seed in range(5))
    masked, counts = mask_secrets(f"x\n-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\ny\n")
    assert masked == f"x\n-----BEGIN {kind}-----\n<KEY>\n-----END {kind}-----\ny\n"
    assert counts == {"Private Key": 1}
    mention = (
        f"the line -----BEGIN {kind}----- starts it, and more is said about that at some length so that it is longer than a key's line;\n"
    )
    assert mask_secrets(mention.replace("PRIVATE", "PUBLIC")) == (mention.replace("PRIVATE", "PUBLIC"), {})
    assert mask_secrets(f"-----BEGIN {kind}-----\n...\n-----END {kind}-----\n")[1] == {}


@pytest.mark.parametrize(
    "innocent",
    [
        'import hashlib\nassert digest == "da39a3ee5e6b4b0d3255bfef95601890afd80709"  # sha1 of nothing',
        'uuid = "123e4567-e89b-12d3-a456-426614174000"',
        'alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"',
        'name = "the_quick_brown_fox_jumps_over"',
        'user_id = "5d41402abc4b2a76b9719d911017c592a1"',
        '"integrity": "sha512-' + token(29, ALNUM, 86) + '=="',
        "url = 'https://${USER}:${PASSWORD}@host/'",
        "postgres://user:password@localhost/db",
        "redis://:${PASSWORD}@host, https://<user>:<token>@host, http://localhost:8080/@scope/name, https://u:****@host",
        "AKIAIOSFODNN7EXAMPLE ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx token = <your-token>",
        "note 12345678:this-is-a-long-line-of-words-with-hyphens, 110201543:the_quick_brown_fox_jumps_over_lazy",
        'x = "31415926535897932384626433832795028841971693993751"; y = "VGhpcyBpcyBwbGFpbiB0ZXh0IGluIGJhc2U2NA=="',
        "hf_hub_download_of_a_model_that_is_large(1) npm_config_registry_of_the_company_1",
        "\n".join(f'("{token(seed, HEX, 31)}", "name.whl"),  # sha256' for seed in range(10)),
    ],
)
def test_what_is_no_secret_is_left(innocent: str) -> None:
    assert mask_secrets(innocent) == (innocent, {})


def test_options_turn_finders_off_and_move_limits() -> None:
    password, hexes = TOKENS["Basic Auth Credentials"], TOKENS["Hex High Entropy String"]
    assert mask_secrets(password, SecretsConfig(passwords=False))[1] == {}
    assert mask_secrets(hexes, SecretsConfig(hex_limit=4))[1] == {}
    words = 'x = "SomeRatherLongNameOfThingsWithWordsInIt1234567890"'
    assert mask_secrets(words)[1] == {}
    assert mask_secrets(words, SecretsConfig(gibberish_limit=0))[1] != {}


# --- the trigger pass loses nothing ----------------------------------------------------------------------------------------

PARTS = st.one_of(
    st.sampled_from([*TOKENS.values(), *(value[:-1] for value in TOKENS.values()), *(value.swapcase() for value in TOKENS.values())]),
    st.sampled_from(["'", '"', "\n", " ", "  ", "=", ":", "@", "://", ".", "-", "_", "\\", "/", "eyJ", "sk-", "xoxb-", "AKIA", "AKC", "APA", "ghp_", "\u0661", "\u017f", "\u212a", "é", "\U0001d7d8", "key", "aws_secret_key", "user_id="]),
    st.text(st.sampled_from(ALNUM + "+/=_-"), max_size=50),
    st.text(max_size=10),
    st.integers(20, 100).flatmap(lambda size: st.text(st.sampled_from(HEX), min_size=size, max_size=size)),
)  # fmt: skip
TEXTS = st.lists(PARTS, max_size=30).map("".join)


def slowly(text: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, int]]:
    """Every plugin on every piece."""
    with monkeypatch.context() as patch:
        patch.setattr(secrets, "_pieces", lambda data: [(start, end, secrets._EVERY) for start, end in every_piece(data)])
        return mask_secrets(text)


@settings(max_examples=share(4))
@given(TEXTS)
@example("\u0661" * 8 + ":" + "a" * 35)
@example("x" * 5000 + " AKC" + "b" * 20)
def test_looking_only_where_a_trigger_is_finds_what_looking_everywhere_finds(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert mask_secrets(text) == slowly(text, patch)


def everywhere(data: bytes) -> set[tokens.Secret]:
    """What every rule finds, tried at every byte."""
    return {secret for rule in tokens.rules() for at in range(len(data)) if stands(rule, data, at) for secret in rule.find(data, at)}


def stands(rule: tokens.Rule, data: bytes, at: int) -> bool:
    found = data[at : at + len(rule.needle)]
    return (found.lower() if rule.folded else found) == rule.needle.encode()


@settings(max_examples=share(0.3))
@given(st.lists(PARTS, max_size=6).map("".join))
@example("".join(f"{value}\n" for value in TOKENS.values()))
def test_the_kernel_finds_every_place_at_which_a_rule_finds_something(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    assert set(tokens.tokens(data, True)) == everywhere(data)


PLUGINS = [
    artifactory.ArtifactoryDetector, aws.AWSKeyDetector, azure_storage_key.AzureStorageKeyDetector, github_token.GitHubTokenDetector, gitlab_token.GitLabTokenDetector,
    npm.NpmDetector, openai.OpenAIDetector, pypi_token.PypiTokenDetector, sendgrid.SendGridDetector, square_oauth.SquareOAuthDetector,
]  # fmt: skip


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.__name__)
def test_what_a_plugin_of_detect_secrets_knows_the_table_knows(plugin: type[RegexBasedDetector]) -> None:
    """Every token of the examples above in which the plugin sees one is masked."""
    seen = [kind for kind, text in TOKENS.items() if any(plugin().analyze_string(text))]
    assert seen
    assert all(mask_secrets(TOKENS[kind])[1] for kind in seen)


def test_every_form_of_the_table_is_found_where_it_is_drawn_and_not_where_it_is_written() -> None:
    """Each form, filled at random, stands between other text; then with one character repeated."""
    draw = random.Random(5)
    for kind, near, cell, sources in rows("secret-kinds.tsv"):
        assert sources, kind
        for text in (each for written in cell.split(" ") for each in tokens.chosen(written)):
            _, parts = tokens.parsed(text)
            name = "" if near == "-" else f"{near.split(' ')[0]} = "
            made = "".join(fixed or filled(draw, alphabet, least) for fixed, alphabet, least, _ in parts)
            found = list(tokens.tokens(f"x {name}{made} y".encode(), True))
            assert any((secret.begin, secret.end) == (2 + len(name), 2 + len(name) + len(made)) for secret in found), (kind, made)
            drawn = max(parts, key=lambda part: 0 if part[0] else part[2])
            if drawn[2] >= 8:
                same = "".join(fixed or filled(draw, alphabet[:3], 1) * least for fixed, alphabet, least, _ in parts)
                assert not any(secret.end - secret.begin == len(same) for secret in tokens.tokens(f"x {name}{same} y".encode(), True)), same


def test_every_form_is_bounded_so_that_a_needle_costs_no_more_than_so_much() -> None:
    for _, near, cell, _ in rows("secret-kinds.tsv"):
        forms = [each for written in cell.split(" ") for each in tokens.chosen(written)]
        patterns = [tokens.form(text).pattern for text in forms] if near == "-" else [tokens.after_name(near, forms)]
        for pattern in patterns:
            assert parser.parse(pattern.pattern.decode()).getwidth()[1] <= 2500, pattern


@pytest.mark.parametrize(
    "kind", ["Airtable", "AWS secret key", "Heroku (old)", "Authress", "Slack user", "OpenAI", "GitLab routable", "Telegram"]
)
def test_steps_of_forms_are_in_proportion_to_the_text(kind: str) -> None:
    """Of one form of each build: names with choices, hyphens, dots, several drawn parts."""
    from tests.pipeline.test_patterns import excess

    ((_, near, cell, _),) = [row for row in rows("secret-kinds.tsv") if row[0] == kind]
    forms = [each for written in cell.split(" ") for each in tokens.chosen(written)]
    pattern = tokens.form(forms[0]).pattern if near == "-" else tokens.after_name(near.split(" ")[0], forms)
    assert excess(pattern, "match", (240, 1_000)) is None


def filled(draw: random.Random, alphabet: str, length: int) -> str:
    """Random characters of a class of the table, digits and letters of both cases among them where it has them, at its ends letters."""
    members = [character for character in map(chr, range(33, 127)) if re.fullmatch(f"[{alphabet}]", character)]
    inner = [character for character in members if character.isalnum()]
    while True:
        text = "".join(draw.choices(inner, k=length))
        if length < 8 or not set(text).isdisjoint(string.digits) or set(inner).isdisjoint(string.digits):
            return text


@settings(max_examples=share(2))
@given(TEXTS)
def test_identifiers_are_told_apart_as_detect_secrets_does(text: str) -> None:
    from detect_secrets.filters.heuristic import is_likely_id_string

    line = text.replace("\n", " ")
    match = secrets._IDENTIFIER.search(line)
    for start in range(0, len(line), 7):
        value = line[start : start + 12]
        if value:
            assert is_likely_id_string(value, line) == (match is not None and line.find(value) >= match.end())


@settings(max_examples=share(1))
@given(st.text(st.sampled_from("ab'é\U0001f600\n"), max_size=2000), st.integers(16, 40))
def test_the_kernel_cuts_pieces_as_the_plain_version_does(text: str, piece: int) -> None:
    import numpy as np

    data = text.encode()
    out = np.zeros((len(data) + 1, 3), np.int64)
    count = secrets._scan(np.frombuffer(data, np.uint8), secrets._CLASSES, piece, 8, out)
    found = [(int(start), int(end)) for start, end, _ in out[:count]]
    quoted = re.compile(rb"['\"][A-Za-z0-9+/\\\-_=]{9,}['\"]")
    long = re.compile(rb"['\"](?:[0-9A-Fa-f]{9,}|[A-Za-z0-9+/\\\-_=]{23,})['\"]")
    plain = [(start, end) for start, end in every_piece(data, piece, 8)]
    assert set(found) <= set(plain)
    assert {place for place in plain if long.search(data[slice(*place)])} <= set(found)
    assert all(quoted.search(data[slice(*place)]) for place in found)


@pytest.mark.parametrize(
    "hostile",
    [
        "eyJ" * 350_000, "sk-" * 350_000, "sk-" + "T3BlbkFJ" * 125_000, "//" * 500_000 + "/:_authToken=", "key" + " " * 1_000_000 + "a" * 40, "'" * 1_000_000, "\"a" * 500_000,
        "://a:" * 200_000 + "@", "ghp_" * 250_000, "telegram=" * 110_000, "token = " * 120_000, "twitter secret: '" * 60_000, "eyJ.eyJ" * 140_000, "1:AA" * 250_000, "auth\": \"" * 110_000, "xoxb-1111111111-" * 60_000, "0Q~" * 330_000, "SG." + "a." * 500_000, "https://hooks.slack.com/services/" * 30_000,
        "AKC" * 333_333, "xoxb-1-" * 140_000, "aws key '" * 110_000, "glagent-" + "a" * 1_000_000, "_id " * 100_000 + "'abcdef0123456789' " * 40_000,
        "-----BEGIN PRIVATE KEY-----" * 40_000, "a_id=" + "'0123456789abcdef0' " * 50_000, "AKIA" * 250_000, "M" * 1_000_000, ("'" + "0123456789abcdef0123456789" + "'") * 38_000,
    ],
)  # fmt: skip
def test_a_megabyte_of_hostile_text_takes_steps_in_proportion(hostile: str) -> None:
    in_proportion(mask_secrets, hostile)


@pytest.mark.slow
def test_thousands_of_different_secrets_take_steps_in_proportion() -> None:
    text = "".join(f'k{number} = "{token(number, ALNUM, 44)}"\n' for number in range(20_000))
    masked, counts = in_proportion(mask_secrets, text, always=True)
    assert counts["Base64 High Entropy String"] >= 18_000  # of the rest the entropy is less, or the letters look like words
    assert masked.count("<KEY>") == sum(counts.values())


def test_lone_surrogates_pass_through() -> None:
    assert mask_secrets("\ud800" + TOKENS["GitHub"]) == ("\ud800<KEY>", {"GitHub": 1})


def test_real_code_has_few_secrets_and_those_are_what_plugins_find_everywhere(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import json

    import zstandard

    path = real_data / "code" / "multi-language.jsonl.zst"
    with path.open("rb") as raw:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw), encoding="utf-8")
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    masked = [row for row in rows if mask_secrets(row["text"])[1]]
    assert len(masked) < len(rows) / 50
    for row in rows[::40]:
        assert mask_secrets(row["text"]) == slowly(row["text"], monkeypatch)
