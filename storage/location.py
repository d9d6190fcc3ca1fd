"""Places as users name them, folders and URIs, taken apart, so that one is joined, shown and handed on without its secrets."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field, replace
from typing import Annotated
from urllib.parse import quote, unquote

from pydantic import PlainSerializer

HIDDEN = "***"
LENT = "FOUNDRY_SECRETS"  # the variable by which processes of a run are lent the secrets that nothing written has

_WEB = ("http", "https")
_QUERY = re.compile(r"\?[A-Za-z_][\w.-]*=[^\s?]*$")  # any other question mark is a glob's; linear: it stops at the next one
_SECRET = r"[\w.-]{0,40}(?:key|secret|token|sig|passw(?:or)?d|pwd|credential|auth)[\w.-]{0,40}|x-amz-[\w-]{1,40}"
_IS_SECRET = re.compile(_SECRET, re.IGNORECASE)
# A password may have a slash that should have been quoted; a number after the colon is a port.
_USER_INFO = re.compile(r"(://[^/@:\s]{0,400}):(?!\d{1,5}(?:[/?\s]|$))[^\s@]{0,400}@")
_TOKEN_AS_USER = re.compile(r"(\bhttps?://)[^/@:\s]{1,400}@")
_SECRET_OPTION = re.compile(rf"([?&](?:{_SECRET})=)[^&\s'\"<>)]+", re.IGNORECASE)


def scrub(text: str) -> str:
    """A text to be shown or written, without the passwords of the URIs in it and the values of their options that are secrets."""
    text = _USER_INFO.sub(rf"\1:{HIDDEN}@", text)
    return _SECRET_OPTION.sub(rf"\1{HIDDEN}", _TOKEN_AS_USER.sub(rf"\1{HIDDEN}@", text))


@dataclass(frozen=True)
class Location:
    """A folder or file of this machine (without a scheme), or a URI. `str()` has no secrets, `uri` is the true one.

    Everything is as the URI has it, quoted where that is. On the web a question mark begins the query; elsewhere it may be a glob's.
    """

    scheme: str
    host: str  # the bucket, or a host with its port
    path: str
    options: tuple[tuple[str, str | None], ...] = field(default=(), repr=False)
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Location:
        """The place that a text names. Secrets that the text leaves out as `str()` does are those that were lent to this process."""
        scheme, mark, rest = text.partition("://")
        if not mark:
            return cls("", "", text)
        at = rest.find("?") if scheme in _WEB else -1
        match = _QUERY.search(rest) if at < 0 else None
        at = match.start() if match is not None else at
        rest, query = (rest, "") if at < 0 else (rest[:at], rest[at + 1 :])
        authority, slash, path = rest.partition("/")
        before, mark, host = authority.rpartition("@")
        user, colon, password = before.partition(":")
        pairs = [pair.partition("=") for pair in query.split("&")] if at >= 0 else []
        options = tuple((name, value if equals else None) for name, equals, value in pairs)
        found = cls(scheme, host, slash + path, options, user if mark else None, password if colon else None)
        return found._borrowed() if HIDDEN in text else found

    @property
    def is_uri(self) -> bool:
        """Whether it is a URI."""
        return bool(self.scheme)

    @property
    def uri(self) -> str:
        """The true place, secrets included: for file systems alone."""
        return self._text(self.user, self.password, self.options) if self.scheme else self.path

    def __str__(self) -> str:
        if not self.scheme:
            return self.path
        hidden = tuple((name, HIDDEN if _IS_SECRET.fullmatch(name) and value else value) for name, value in self.options)
        user = HIDDEN if self.user and self.password is None and self.scheme in _WEB else self.user
        return scrub(self._text(user, None if self.password is None else HIDDEN, hidden))

    __repr__ = __str__

    def _text(self, user: str | None, password: str | None, options: tuple[tuple[str, str | None], ...]) -> str:
        before = "" if user is None else f"{user}@" if password is None else f"{user}:{password}@"
        query = "&".join(name if value is None else f"{name}={value}" for name, value in options)
        return f"{self.scheme}://{before}{self.host}{self.path}" + (f"?{query}" if options else "")

    def below(self, *names: str) -> Location:
        """What lies below it; its options, by which a file system is told where its server is, stay at the end."""
        return replace(self, path="/".join([self.path.rstrip("/"), *names]))

    @property
    def parent(self) -> Location:
        """The folder that it lies in."""
        return replace(self, path=self.path.rstrip("/").rpartition("/")[0])

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Its secrets."""
        found = [value for name, value in self.options if _IS_SECRET.fullmatch(name)]
        if self.password is None and self.scheme in _WEB and self.user:
            found.append(self.user)
        return tuple(value for value in [self.password, *found] if value and value != HIDDEN)

    @property
    def lacks_secrets(self) -> bool:
        """Whether it is as `str()` shows one that has secrets, and nobody lent them to this process."""
        return HIDDEN in (self.user, self.password, *(value for _, value in self.options))

    def scrub(self, text: str) -> str:
        """A text without this place's secrets, however they are quoted there, and without whatever else looks like one."""
        for secret in self.secrets:
            for form in {secret, unquote(secret), quote(unquote(secret), safe=""), quote(unquote(secret))}:
                if len(form) > 3:  # a shorter one would be found in every word
                    text = text.replace(form, HIDDEN)
        return scrub(text)

    # --- secrets for other processes -----------------------------------------------------------------------------------

    def lend(self) -> None:
        """Have processes that this one starts know this place's secrets, by the environment, where they read `str()` of it."""
        if self.secrets:
            known = json.loads(os.environ.get(LENT, "{}"))
            values = [self.user, self.password, [value for _, value in self.options]]
            os.environ[LENT] = json.dumps({**known, str(replace(self, path="")): values})

    def _borrowed(self) -> Location:
        known = json.loads(os.environ.get(LENT, "{}")).get(str(replace(self, path="")))
        if known is None:
            return self
        options = tuple((name, value) for (name, _), value in zip(self.options, known[2], strict=True))
        return replace(self, options=options, user=known[0], password=known[1])


def _shown(place: str | None) -> str | None:
    return None if place is None else str(Location.parse(place))


# Places in configurations: written and fingerprinted without their secrets.
Place = Annotated[str, PlainSerializer(_shown, return_type=str, when_used="json")]
