"""A rule on links: a page with an address every few words is a list of links, and no prose."""

from __future__ import annotations

from pydantic import Field

from pipeline.filters.check import Check, Family


class LinkRules(Family):
    """Limits on the addresses in a text."""

    max_links: float = Field(0.05, ge=0, description="Greatest number of addresses (http://, https://) a word.")

    def checks(self) -> list[Check]:
        return [Check("links", "links", maximum=self.max_links)]
