"""What the templates are filled with: invented addresses, numbers and tokens. Nothing here looks at the rules that are tested."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from functools import partial

ALNUM = string.ascii_letters + string.digits
LOWER = string.ascii_lowercase + string.digits
UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"
WORD = ALNUM + "_-"
BASE64 = ALNUM + "+/"
BASE32 = string.ascii_uppercase + "234567"

SYLLABLES = [
    "bra",
    "dro",
    "fli",
    "gra",
    "kem",
    "lor",
    "mip",
    "nal",
    "pux",
    "quo",
    "ras",
    "sev",
    "tol",
    "vin",
    "wob",
    "yat",
    "zul",
    "cri",
    "dap",
    "fro",
]
PLAIN_TOPS = [
    "com",
    "org",
    "net",
    "edu",
    "de",
    "fr",
    "it",
    "es",
    "pl",
    "nl",
    "ru",
    "br",
    "jp",
    "cn",
    "in",
    "ca",
    "au",
    "se",
    "ch",
    "at",
    "be",
    "cz",
    "gr",
    "pt",
    "fi",
    "dk",
    "no",
    "ie",
]
WORD_TOPS = [
    "dev",
    "io",
    "app",
    "name",
    "world",
    "design",
    "agency",
    "studio",
    "me",
    "info",
    "biz",
    "tech",
    "online",
    "club",
    "email",
    "cloud",
    "health",
    "museum",
    "photography",
]
SECOND_LEVELS = ["co.uk", "com.br", "co.jp", "com.au", "ac.uk", "org.uk", "co.in", "com.mx", "gov.br", "edu.tr", "co.kr", "com.tr"]


def pick(draw: random.Random, alphabet: str, length: int) -> str:
    """A random string that has a digit where the alphabet has some, as nearly every drawn token does."""
    while True:
        found = "".join(draw.choices(alphabet, k=length))
        if length < 12 or not set(alphabet) & set(string.digits) or set(found) & set(string.digits):
            return found


def nonsense(draw: random.Random, least: int = 2, most: int = 3) -> str:
    return "".join(draw.choices(SYLLABLES, k=draw.randint(least, most)))


def local(draw: random.Random) -> str:
    one, two = nonsense(draw), nonsense(draw)
    return draw.choice(
        [one, f"{one}.{two}", f"{one[0]}.{two}", f"{one}_{two}", f"{one}{draw.randint(1, 99)}", f"{one}+{two}", f"{one}-{two}"]
    )


def email(draw: random.Random) -> str:
    host = nonsense(draw)
    host = draw.choice([host, host, f"mail.{host}", f"{host}-{nonsense(draw, 1, 2)}", f"{host}{draw.randint(2, 9)}"])
    return f"{local(draw)}@{host}.{draw.choice(PLAIN_TOPS + SECOND_LEVELS)}"


def email_word(draw: random.Random) -> str:
    """Under a top-level domain that is also a word or the name of a member."""
    return f"{nonsense(draw)}@{nonsense(draw)}.{draw.choice(WORD_TOPS)}"


def email_capitals(draw: random.Random) -> str:
    return f"{nonsense(draw).title()}.{nonsense(draw).title()}@{nonsense(draw).title()}.{draw.choice(['com', 'COM', 'org', 'De'])}"


def email_idn(draw: random.Random) -> str:
    one, two = nonsense(draw), nonsense(draw)
    return draw.choice(
        [
            f"{one}@grün{two}.de",
            f"{one}@{two}-café.fr",
            f"info@ñam{one}.es",
            f"jürgen.{one}@{two}.at",
            f"josé.{one}@{two}.com.br",
            f"михр{draw.randint(1, 99)}@брубел.рф",
            "инфо@дром-кемпа.рф",
            f"{one}@тролвик.рус",
            f"{one}@xn--{two}-{pick(draw, LOWER, 3)}.xn--p1ai",
            "संपर्क@फलनढिक.भारत",
            f"{one}@{two}.中国",
            "απορία@κεμπλορ.ελ",
            f"{one}@{two}.мкд",
            f"{one}@블롱케.한국",
            f"{one}＠{two}.co.jp",
        ]
    )


def email_arabic(draw: random.Random) -> str:
    return draw.choice([f"{nonsense(draw)}@موقعكمبل.مصر", "دروفل@كمبلور.السعودية", f"{nonsense(draw)}@{nonsense(draw)}.امارات"])


def email_han(draw: random.Random) -> str:
    return draw.choice([f"{nonsense(draw)}@凯姆洛.中国", f"{nonsense(draw)}@{nonsense(draw)}.公司", f"{nonsense(draw)}@凯姆洛.网络"])


def ip(draw: random.Random) -> str:
    """Of documentation-like ranges that look public: 203.0.x.y but for TEST-NET-3, and ordinary ones."""
    first = draw.choice([23, 45, 62, 78, 91, 104, 128, 130, 142, 151, 178, 185, 193, 201, 209, 213, 216])
    return f"{first}.{draw.randint(64, 250)}.{draw.randint(1, 254)}.{draw.randint(2, 254)}"


def ip_small(draw: random.Random) -> str:
    return draw.choice(
        [
            "8.8.8.8",
            "1.1.1.1",
            "9.9.9.9",
            "4.2.2.2",
            f"5.9.{draw.randint(1, 40)}.{draw.randint(1, 40)}",
            f"31.13.{draw.randint(24, 60)}.{draw.randint(1, 60)}",
        ]
    )


def ip6(draw: random.Random) -> str:
    def group() -> str:
        return f"{draw.randint(1, 0xFFFF):x}"

    return draw.choice(
        [
            f"2a01:{group()}:{group()}::{group()}",
            f"2606:4700:{group()}::{group()}",
            f"2620:0:{group()}:{group()}:{group()}:{group()}:{group()}:{group()}",
            f"2400:cb00:{group()}::1",
        ]
    )


def ip_private(draw: random.Random) -> str:
    return draw.choice(
        [
            f"10.{draw.randint(0, 255)}.{draw.randint(0, 255)}.{draw.randint(1, 254)}",
            f"192.168.{draw.randint(0, 255)}.{draw.randint(1, 254)}",
            f"172.{draw.randint(16, 31)}.0.{draw.randint(1, 254)}",
            f"192.0.2.{draw.randint(1, 254)}",
            f"198.51.100.{draw.randint(1, 254)}",
            f"203.0.113.{draw.randint(1, 254)}",
            "127.0.0.1",
            "0.0.0.0",
            "255.255.255.0",
            "224.0.0.251",
            "169.254.169.254",
        ]
    )


def version4(draw: random.Random) -> str:
    return f"{draw.randint(1, 20)}.{draw.randint(0, 30)}.{draw.randint(0, 120)}.{draw.randint(0, 250)}"


def small4(draw: random.Random) -> str:
    return ".".join(str(draw.randint(1, 9)) for _ in range(4))


def enzyme(draw: random.Random) -> str:
    return f"{draw.randint(1, 6)}.{draw.randint(1, 21)}.{draw.randint(1, 99)}.{draw.randint(1, 250)}"


def phone_us(draw: random.Random) -> str:
    area, last = draw.choice([202, 212, 303, 415, 512, 617, 713, 808]), draw.randint(100, 199)
    return draw.choice(
        [f"({area}) 555-0{last}", f"{area}-555-0{last}", f"{area}.555.0{last}", f"1-{area}-555-0{last}", f"({area})\u00a0555-0{last}"]
    )


def phone_international(draw: random.Random) -> str:
    d = partial(pick, draw, "0123456789")
    return draw.choice(
        [
            f"+1 {draw.choice([202, 415])} 555 01{d(2)}",
            f"+44 20 7946 0{d(3)}",
            f"+44 (0)161 496 0{d(3)}",
            f"+33 1 99 00 {d(2)} {d(2)}",
            f"+33 6 39 98 {d(2)} {d(2)}",
            f"+49 30 23125 {d(3)}",
            f"+49 (0)221 4710 {d(3)}",
            f"+61 2 5550 {d(4)}",
            f"+46-8-465 004 {d(2)}",
            f"+353 20 91{d(1)} {d(4)}",
            f"+36 55 {d(3)} {d(3)}",
            f"+7 (495) 000-{d(2)}-{d(2)}",
            f"+86 138 0000 {d(4)}",
            f"+91 98{d(3)} {d(5)}",
            f"+55 (11) 9{d(4)}-{d(4)}",
            f"+34\u00a0612\u00a0{d(3)}\u00a0{d(3)}",
            f"+420 777 {d(3)} {d(3)}",
            f"+1-800-555-01{d(2)}",
            f"+12025550{draw.randint(100, 199)}",
            f"+4930231{d(5)}",
            f"+39\u202f06\u202f{d(4)}\u202f{d(4)}",
            f"+81-3-{d(4)}-{d(4)}",
        ]
    )


def phone_national(draw: random.Random) -> str:
    d = partial(pick, draw, "0123456789")
    return draw.choice(
        [
            f"030 23125 {d(3)}",
            f"030/23125{d(3)}",
            f"(030) 23125-{d(3)}",
            f"01 99 00 {d(2)} {d(2)}",
            f"01.99.00.{d(2)}.{d(2)}",
            f"020 7946 0{d(3)}",
            f"(020)\u00a07946\u00a00{d(3)}",
            f"0221-4710{d(3)}",
            f"912 {d(2)} {d(2)} {d(2)}",
            f"91 {d(3)} {d(2)} {d(2)}",
            f"0{d(2)}-{d(3)}-{d(4)}",
        ]
    )


def phone_chinese(draw: random.Random) -> str:
    d = partial(pick, draw, "0123456789")
    return draw.choice([f"138{d(8)}", f"010-8{d(7)}", f"（010）6{d(7)}", f"400-8{d(2)}-{d(4)}", f"139-{d(4)}-{d(4)}", f"0755 2{d(7)}"])


def phone_japanese(draw: random.Random) -> str:
    d = partial(pick, draw, "0123456789")
    number = draw.choice([f"03-{d(4)}-{d(4)}", f"090-{d(4)}-{d(4)}", f"06（{d(4)}）{d(4)}", f"0120-{d(3)}-{d(3)}"])
    full = str.maketrans("0123456789-", "０１２３４５６７８９－")
    return number.translate(full) if draw.random() < 0.4 else number


def phone_indian(draw: random.Random) -> str:
    d = partial(pick, draw, "0123456789")
    return draw.choice([f"98{d(8)}", f"011-2{d(7)}", f"0{d(3)}-{d(7)}", f"98{d(3)} {d(5)}"])


def phone_arabic(draw: random.Random) -> str:
    d = partial(pick, draw, "0123456789")
    number = draw.choice([f"0100 {d(3)} {d(4)}", f"02-2{d(3)}{d(4)}", f"05{d(8)}", f"011 {d(3)} {d(4)}"])
    eastern = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
    return number.translate(eastern) if draw.random() < 0.4 else number


def phone_russian(draw: random.Random) -> str:
    d = partial(pick, draw, "0123456789")
    return draw.choice(
        [
            f"8 (495) {d(3)}-{d(2)}-{d(2)}",
            f"8-800-{d(3)}-{d(2)}-{d(2)}",
            f"(812)\u00a0{d(3)}-{d(2)}-{d(2)}",
            f"8 916 {d(3)} {d(2)} {d(2)}",
            f"{d(3)}-{d(2)}-{d(2)}",
        ]
    )


def phone_brazilian(draw: random.Random) -> str:
    d = partial(pick, draw, "0123456789")
    return draw.choice([f"(11) 9{d(4)}-{d(4)}", f"(21)\u00a03{d(3)}-{d(4)}", f"11 9{d(4)} {d(4)}", f"0800 {d(3)} {d(4)}"])


def jwt(draw: random.Random) -> str:
    def part(value: dict[str, str | int]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': nonsense(draw), 'iat': draw.randint(10**9, 2 * 10**9)})}.{pick(draw, WORD[:-1], 43)}"


def pem(draw: random.Random) -> str:
    return "\n".join(pick(draw, BASE64, 64) for _ in range(draw.randint(4, 8)))


# Token kinds as their issuers document them: what they begin with, and the alphabet and length of what follows, as often as need be.
TOKENS: dict[str, list[str | tuple[str, int]]] = {
    "github": ["ghp_", (ALNUM, 36)], "github oauth": ["gho_", (ALNUM, 36)], "github server": ["ghs_", (ALNUM, 36)],
    "github fine": ["github_pat_", (ALNUM, 22), "_", (ALNUM, 59)],
    "gitlab": ["glpat-", (WORD, 20)], "gitlab runner": ["glrt-", (WORD, 20)], "gitlab trigger": ["glptt-", (HEX, 40)],
    "openai project": ["sk-proj-", (WORD, 74), "T3BlbkFJ", (WORD, 74)], "openai old": ["sk-", (ALNUM, 20), "T3BlbkFJ", (ALNUM, 20)],
    "anthropic": ["sk-ant-api03-", (WORD, 93), "AA"], "hugging face": ["hf_", (ALNUM, 34)], "npm": ["npm_", (ALNUM, 36)],
    "pypi": ["pypi-AgEIcHlwaS5vcmc", (WORD, 120)], "google api": ["AIza", (WORD, 35)], "google oauth": ["GOCSPX-", (WORD, 28)],
    "google access": ["ya29.", (WORD, 80)], "docker": ["dckr_pat_", (WORD, 27)], "shopify": ["shpat_", (HEX, 32)], "shopify shared": ["shpss_", (HEX, 32)],
    "slack bot": ["xoxb-", (string.digits, 12), "-", (string.digits, 12), "-", (ALNUM, 24)],
    "slack app": ["xapp-1-A", (UPPER, 10), "-", (string.digits, 13), "-", (HEX, 64)],
    "slack config": ["xoxe-1-", (ALNUM, 146)], "slack webhook": ["https://hooks.slack.com/services/T", (UPPER, 8), "/B", (UPPER, 8), "/", (ALNUM, 24)],
    "age": ["AGE-SECRET-KEY-1", ("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)], "databricks": ["dapi", (HEX, 32)], "vault": ["hvs.", (WORD, 95)],
    "stripe": ["sk_live_", (ALNUM, 24)], "stripe restricted": ["rk_live_", (ALNUM, 24)], "twilio": ["SK", (HEX, 32)],
    "sendgrid": ["SG.", (WORD, 22), ".", (WORD, 43)], "digitalocean": ["dop_v1_", (HEX, 64)], "azure client": [(ALNUM, 3), "8Q~", (ALNUM, 34)],
    "aws id": ["AKIA", (BASE32, 16)], "aws temporary": ["ASIA", (BASE32, 16)], "telegram": [("123456789", 10), ":AA", (WORD, 33)],  "mailchimp": [(HEX, 32), "-us7"], "artifactory": ["AKCp", (ALNUM, 69)],
    "square": ["sq0csp-", (WORD, 43)], "linear": ["lin_api_", (ALNUM, 40)], "notion": ["ntn_", (string.digits, 11), (ALNUM, 35)], "postman": ["PMAK-", (HEX, 24), "-", (HEX, 34)],
    "pulumi": ["pul-", (HEX, 40)], "rubygems": ["rubygems_", (HEX, 48)], "terraform": [(ALNUM, 14), ".atlasv1.", (ALNUM, 67)],
    "planetscale": ["pscale_tkn_", (WORD, 43)], "doppler": ["dp.pt.", (ALNUM, 43)], "grafana": ["glsa_", (ALNUM, 32), "_", (HEX, 8)],
    "sentry": ["sntryu_", (HEX, 64)], "newrelic": ["NRAK-", (UPPER, 27)], "dynatrace": ["dt0c01.", (UPPER, 24), ".", (UPPER, 64)],
    "figma": ["figd_", (WORD, 40)], "groq": ["gsk_", (ALNUM, 52)], "openrouter": ["sk-or-v1-", (HEX, 64)], "perplexity": ["pplx-", (ALNUM, 48)],
    "replicate": ["r8_", (ALNUM, 37)], "nvidia": ["nvapi-", (WORD, 64)], "supabase": ["sbp_", (HEX, 40)], "atlassian": ["ATATT3", (WORD, 186)],
    "1password": ["A3-", (UPPER, 6), "-", (UPPER, 11), "-", (UPPER, 5), "-", (UPPER, 5), "-", (UPPER, 5)], "alibaba": ["LTAI", (ALNUM, 20)],
    "heroku": ["HRKU-AA", (WORD, 58)], "brevo": ["xkeysib-", (HEX, 64), "-", (ALNUM, 16)], "easypost": ["EZAK", (ALNUM, 54)], "shippo": ["shippo_live_", (HEX, 40)],
    "facebook": ["EAAC", (ALNUM, 120)], "typeform": ["tfp_", (WORD, 59)], "prefect": ["pnu_", (ALNUM, 36)], "readme": ["rdme_", (LOWER, 70)],
}  # fmt: skip


def token(name: str) -> Callable[[random.Random], str]:
    def make(draw: random.Random) -> str:
        parts = []
        for part in TOKENS[name]:
            if isinstance(part, str):
                parts.append(part)
                continue
            found = pick(draw, *part)
            parts.append(found if found[-1] not in "-_" else found[:-1] + "x")  # an end that could be told from no mark after it
        return "".join(parts)

    return make


def discord(draw: random.Random) -> str:
    """The first part is the number of an account in base64."""
    user = base64.b64encode(pick(draw, string.digits[1:], 18).encode()).decode()
    return f"{user}.{pick(draw, ALNUM, 6)}.{pick(draw, ALNUM, 27)}"


def any_token(draw: random.Random) -> str:
    name = draw.choice(sorted({*TOKENS, "discord"} - {"slack webhook"}))
    return SLOTS[name](draw)


def password(draw: random.Random) -> str:
    return draw.choice(
        [
            pick(draw, ALNUM, 14),
            nonsense(draw) + str(draw.randint(10, 999)),
            nonsense(draw).title() + "!" + str(draw.randint(10, 99)),
            pick(draw, ALNUM, 20) + "$",
        ]
    )


def docker_auth(draw: random.Random) -> str:
    return base64.b64encode(f"{nonsense(draw)}:{pick(draw, ALNUM, 16)}".encode()).decode()


def email_other(draw: random.Random) -> str:
    """Other names, other places: numbers, capitals of names, long hosts."""
    one, two, three = nonsense(draw), nonsense(draw), nonsense(draw)
    host = draw.choice([f"{two}.{three}", f"{two}{draw.randint(10, 99)}", f"mx{draw.randint(1, 9)}.{two}-{three}", two])
    user = draw.choice(
        [f"{one[:2]}{draw.randint(100, 999)}", f"{one.title()}{two.title()}", f"{one}.{two[0]}.{three}", f"{one}%{two}", f"_{one}"]
    )
    return f"{user}@{host}.{draw.choice(['ua', 'kr', 'tr', 'vn', 'co.za', 'ir', 'hu', 'ro', 'id', 'ac.jp', 'gov.uk', 'edu.au', 'net.br', 'eu', 'asia', 'tv'])}"


def email_new(draw: random.Random) -> str:
    return f"{nonsense(draw)}@{nonsense(draw)}.{draw.choice(['blog', 'shop', 'page', 'site', 'xyz', 'space', 'live', 'works', 'zone', 'berlin', 'tokyo', 'media', 'legal'])}"


def email_foreign(draw: random.Random) -> str:
    one, two = nonsense(draw), nonsense(draw)
    return draw.choice(
        [
            f"søren.{one}@{two}.dk",
            f"{one}@łąka-{two}.pl",
            f"łukasz{draw.randint(1, 99)}@{two}.pl",
            f"почта.{draw.randint(1, 99)}@кемполд.укр",
            f"{one}@{two}.қаз",
            f"{one}@ทอลวิน.ไทย",
            f"ईमेल{draw.randint(1, 99)}@कमलोर.भारत",
            f"{one}@কেমলর.বাংলা",
            f"{one}@{two}.சிங்கப்பூர்",
            f"{one}@ツルケム.みんな",
            f"{one}@{two}.台灣",
            f"info@öö-{two}.ee",
            f"{one}@{two}.xn--j1amh",
            f"ñandú.{one}@{two}.ar",
        ]
    )


def phone_elsewhere(draw: random.Random) -> str:
    d = partial(pick, draw, "0123456789")
    return draw.choice(
        [
            f"+90 (212) {d(3)} {d(2)} {d(2)}",
            f"+82-2-{d(4)}-{d(4)}",
            f"+84 24 {d(4)} {d(4)}",
            f"+62 812-{d(4)}-{d(4)}",
            f"+234 803 {d(3)} {d(4)}",
            f"+98 21 {d(4)} {d(4)}",
            f"+31 20 {d(3)} {d(4)}",
            f"+48 22 {d(3)} {d(2)} {d(2)}",
            f"+380 44 {d(3)} {d(2)} {d(2)}",
            f"+27 11 {d(3)} {d(4)}",
            f"+971 4 {d(3)} {d(4)}",
            f"+43 1 {d(7)}",
            f"+41 44 {d(3)} {d(2)} {d(2)}",
            f"+32 2 {d(3)} {d(2)} {d(2)}",
            f"+351 21 {d(3)} {d(4)}",
            f"+52 55 {d(4)} {d(4)}",
            f"+54 11 {d(4)}-{d(4)}",
            f"＋81－90－{d(4)}－{d(4)}",
            f"+45\u202f{d(2)}\u202f{d(2)}\u202f{d(2)}\u202f{d(2)}",
            f"+1.202.555.01{d(2)}",
            f"+358 (0)9 {d(3)} {d(4)}",
        ]
    )


def phone_at_home(draw: random.Random) -> str:
    d = partial(pick, draw, "0123456789")
    return draw.choice(
        [
            f"0212 {d(3)} {d(2)} {d(2)}",
            f"02-{d(4)}-{d(4)}",
            f"024 {d(4)} {d(4)}",
            f"06 {d(4)} {d(4)}",
            f"020-{d(3)} {d(4)}",
            f"22\u00a0{d(3)}\u00a0{d(2)}\u00a0{d(2)}",
            f"(044) {d(3)}-{d(2)}-{d(2)}",
            f"0221 / {d(3)} {d(2)} {d(2)}",
            f"0{d(3)}–{d(6)}",
            f"０３（{d(4)}）{d(4)}",
        ]
    )


# Other issuers' tokens than those above.
TOKENS |= {
    "mongodb": ["mdb_sa_sk_", (WORD, 40)], "clojars": ["CLOJARS_", (LOWER, 60)], "cerebras": ["csk-", (LOWER, 48)], "deno": ["ddp_", (ALNUM, 36)], "frameio": ["fio-u-", (WORD, 64)],
    "infracost": ["ico-", (ALNUM, 32)], "octopus": ["API-", (UPPER, 26)], "sonar": ["squ_", (HEX, 40)], "together": ["tgp_v1_", (WORD, 43)], "vercel": ["vcp_", (WORD, 56)],
    "sourcegraph": ["sgp_", (HEX, 40)], "airtable": ["pat", (ALNUM, 14), ".", (HEX, 64)], "maxmind": [(ALNUM, 6), "_", (ALNUM, 29), "_mmk"], "posthog": ["phx_", (ALNUM, 47)],
    "mailgun": ["key-", (HEX, 32)], "netlify": ["nfp_", (ALNUM, 36)], "github refresh": ["ghr_", (ALNUM, 36)], "stripe test": ["sk_test_", (ALNUM, 24)], "webhook secret": ["whsec_", (ALNUM, 32)],
    "gitlab deploy": ["gldt-", (WORD, 20)], "vault batch": ["hvb.", (WORD, 160)], "oauth digitalocean": ["doo_v1_", (HEX, 64)], "openai service": ["sk-svcacct-", (WORD, 58), "T3BlbkFJ", (WORD, 58)],
    "anthropic admin": ["sk-ant-admin01-", (WORD, 93), "AA"], "slack session": ["xoxc-", (string.digits, 12), "-", (string.digits, 12), "-", (string.digits, 13), "-", (HEX, 64)],
    "slack user": ["xoxp-", (string.digits, 12), "-", (string.digits, 12), "-", (string.digits, 13), "-", (HEX, 32)], "test pypi": ["pypi-AgENdGVzdC5weXBpLm9yZw", (WORD, 110)], "docker organisation": ["dckr_oat_", (WORD, 32)],
    "duffel": ["duffel_live_", (WORD, 43)], "facebook page": ["EAAM", (ALNUM, 140)], "flutterwave": ["FLWSECK_TEST-", ("0123456789abcdefgh", 32), "-X"], "cockroach": ["CCDB1_", (ALNUM, 22), "_", (ALNUM, 40)],
    "yandex": ["AQVN", (WORD, 36)], "adobe": ["p8e-", (LOWER, 32)], "shopify custom": ["shpca_", (HEX, 32)], "new relic insert": ["NRII-", (ALNUM, 32)], "nuget": ["oy2", (LOWER, 43)], "hubspot": ["pat-na1-", (HEX, 8), "-", (HEX, 4), "-", (HEX, 4), "-", (HEX, 4), "-", (HEX, 12)],
}  # fmt: skip


def other_token(draw: random.Random) -> str:
    names = list(TOKENS)
    return token(draw.choice(names[names.index("mongodb") :]))(draw)


SLOTS: dict[str, Callable[[random.Random], str]] = {
    "email": email, "word": email_word, "capitals": email_capitals, "idn": email_idn, "arabic mail": email_arabic, "han mail": email_han, "escaped": lambda draw: email(draw).replace("@", "\\@"),
    "ip": ip, "small ip": ip_small, "ip6": ip6, "private": ip_private, "version": version4, "small": small4, "enzyme": enzyme,
    "us": phone_us, "intl": phone_international, "national": phone_national, "chinese": phone_chinese, "japanese": phone_japanese, "indian": phone_indian,
    "arabic": phone_arabic, "russian": phone_russian, "brazilian": phone_brazilian,
    "token": any_token, "jwt": jwt, "pem": pem, "password": password, "docker auth": docker_auth, "hex32": lambda draw: pick(draw, HEX, 32), "hex40": lambda draw: pick(draw, HEX, 40),
    "hex64": lambda draw: pick(draw, HEX, 64), "base40": lambda draw: pick(draw, BASE64, 40), "base44": lambda draw: pick(draw, BASE64, 43) + "=", "alnum32": lambda draw: pick(draw, ALNUM, 32), "lower32": lambda draw: pick(draw, LOWER, 32),
    "alnum40": lambda draw: pick(draw, ALNUM, 40), "x": nonsense, "X": lambda draw: nonsense(draw).title(), "Camel": lambda draw: nonsense(draw).title() + nonsense(draw).title(), "d": lambda draw: str(draw.randint(1, 9)),
    "dd": lambda draw: str(draw.randint(10, 99)), "ddd": lambda draw: str(draw.randint(100, 999)), "dddd": lambda draw: str(draw.randint(1000, 9999)), "d10": lambda draw: pick(draw, "123456789", 10), "d13": lambda draw: pick(draw, "123456789", 13), "year": lambda draw: str(draw.randint(1950, 2029)),
    "uuid": lambda draw: "-".join(pick(draw, HEX, n) for n in (8, 4, 4, 4, 12)),
    "discord": discord, "other": email_other, "new": email_new, "foreign": email_foreign, "elsewhere": phone_elsewhere, "at home": phone_at_home, "other token": other_token,
    "B40": lambda draw: pick(draw, BASE64, 40), "lower24": lambda draw: pick(draw, LOWER, 24), "hex24": lambda draw: pick(draw, HEX, 24), "upper10": lambda draw: pick(draw, UPPER, 10), "month": lambda draw: draw.choice(["Jan", "Feb", "Mar", "Apr", "May", "Jun"]),
    **{name: token(name) for name in TOKENS},
}  # fmt: skip
