"""A reader of e-mail: one message a file (RFC 5322, `.eml`)."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator

from pydantic import Field

from pipeline.readers import Format, Member, Record, SourceConfig, Unreadable, read_all


class MailSource(SourceConfig):
    """E-mail, one message a file."""

    quoted: bool = Field(True, description="Keep lines that quote an earlier message (`> ...`).")


def read(member: Member, source: MailSource) -> Iterator[Record | Unreadable]:
    """The plain text of a message; its subject is the title."""
    data = read_all(member, source)
    message = email.message_from_bytes(data, policy=email.policy.default)
    body = message.get_body(("plain",))
    if body is None:
        yield Unreadable(member.path, "the message has no plain text", data[:1000])
        return
    lines = body.get_content().splitlines()
    text = "\n".join(line for line in lines if source.quoted or not line.startswith(">"))
    yield Record(member.path, text, title=message["subject"], path=member.name, meta={"from": str(message["from"])})


EML = Format(MailSource, read, version=1)
