"""The form in which a text is compared with documents: what ingest makes of it, then the fold that all hashes are made of.

Documents are repaired and masked as they are written, and folded (`kernel.fold`) as they are hashed. A text from elsewhere, such as an item
of an evaluation set, meets them only if the same is done to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from kernel.fold import fold_text
from pipeline.ingest.repair import repair, well_formed
from pipeline.ingest.stage import VERSION, IngestConfig, masks_of
from pipeline.workdir.dataset import fingerprint
from pipeline.workdir.documents import CODE


def ingested(text: str, domain: str, config: IngestConfig, *, from_markup: bool = False) -> str:
    """A text as ingest writes it into documents of a domain: repaired, then masked. `from_markup`: a reader has decoded its entities."""
    text = well_formed(text) if config.repair is None else repair(text, config.repair, domain, from_markup=from_markup).text
    for take_out in masks_of(config, domain):
        text, _ = take_out(text)
    return text


def canonical(text: str, domain: str, config: IngestConfig, *, from_markup: bool = False) -> str:
    """The form in which a text is compared: as ingest writes it into documents of a domain, and folded for hashing."""
    return fold_text(ingested(text, domain, config, from_markup=from_markup))


@dataclass(frozen=True)
class Ingesting:
    """How a corpus was ingested: the recipe's settings, and the domains of its sources."""

    config: IngestConfig
    domains: tuple[str, ...]

    @property
    def key(self) -> str:
        """Changes whenever what ingest makes of a text may."""
        return fingerprint(VERSION, self.config.model_dump(mode="json", exclude={"chunk_bytes", "partition_bytes"}), self.domains)

    @cached_property
    def treatments(self) -> tuple[str, ...]:
        """Of domains whose texts are treated alike, one."""
        config, found = self.config, dict[tuple[bool, bool, tuple[str, ...]], str]()
        for domain in self.domains:
            kinds = () if config.personal is None else config.personal.kinds(domain)
            found.setdefault((config.repair is not None and domain in config.repair.verbatim, domain == CODE, kinds), domain)
        return tuple(found.values())

    def forms(self, text: str, *, from_markup: bool = False) -> Sequence[str]:
        """All forms in which a text may stand in the corpus, each once, not folded.

        What ingest does to it depends on the domain, and on what stands around it: entities are decoded in a page that has no `<`, damage
        is told by the whole line, a number is a telephone's by the words before it. So there are its forms by domain, those with its
        entities as they are, and the text as it lies.
        """
        found = [ingested(text, domain, self.config, from_markup=from_markup) for domain in self.treatments]
        if "&" in text and not from_markup:
            found += [ingested(text, domain, self.config, from_markup=True) for domain in self.treatments]
        return list(dict.fromkeys([*found, well_formed(text)]))
