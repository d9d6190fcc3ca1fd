"""What came in, what went out and why: the numbers of a workdir, from its manifests alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.dataset import Manifest, Workdir
from pipeline.documents import DOCUMENTS
from pipeline.mixing import PLAN, SPLIT
from pipeline.packing import shards_dataset
from pipeline.tokens import TOKENIZER, TOKENS
from pipeline.verdicts import ORDER, totals, verdict_dataset


@dataclass(frozen=True)
class Count:
    """Documents, and bytes of their text."""

    documents: int
    bytes: int


@dataclass(frozen=True)
class Packed:
    """How one phase was packed."""

    phase: str
    length: int
    rows: int
    segments: int
    tokens: int
    slots: int
    domains: dict[str, int]  # ids, special tokens left out

    @property
    def efficiency(self) -> float:
        """Share of the slots that are tokens."""
        return self.tokens / self.slots if self.slots else 0.0


@dataclass(frozen=True)
class Funnel:
    """The stages in order, each with what it left of each domain; and all that there is to say about drops, tokens, packing."""

    domains: tuple[str, ...]
    stages: tuple[tuple[str, dict[str, Count]], ...]
    reasons: tuple[tuple[str, str, dict[str, int]], ...]  # stage, rule, documents by domain
    sources: dict[str, tuple[str, Count, Count]]  # source -> domain, in, out
    quarantined: int
    split: dict[str, dict[str, Count]]  # domain -> train, validation
    mix: dict[str, dict[str, dict[str, float]]]  # phase -> domain -> share, epochs, bytes
    tokenizer: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, dict[str, int]] = field(default_factory=dict)  # domain -> documents, tokens, bytes
    packed: tuple[Packed, ...] = ()


def funnel(workdir: Workdir) -> Funnel:
    """Read the manifests of a workdir. What has not been made yet is empty. Raises `UserError` where nothing was ingested."""
    documents = workdir.require(DOCUMENTS)
    ingested = {
        domain: Count(counts["documents"], counts["bytes"]) for domain, counts in sorted(documents.summary.get("domains", {}).items())
    }
    stages: list[tuple[str, dict[str, Count]]] = [("ingest", ingested)]
    reasons: list[tuple[str, str, dict[str, int]]] = []
    final: Manifest | None = None
    for name in ORDER:
        manifest = workdir.manifest(verdict_dataset(name))
        if manifest is None:
            continue
        final = manifest
        sums = totals(manifest.summary)
        stages.append((name, {domain: Count(sums[domain]["kept"], sums[domain]["kept_bytes"]) for domain in sorted(sums)}))
        rules = sorted({rule for counts in sums.values() for rule in counts["rules"]})
        for rule in rules:
            by_domain = {domain: counts["rules"][rule] for domain, counts in sorted(sums.items()) if rule in counts["rules"]}
            reasons.append((name, rule, by_domain))
    split = workdir.manifest(SPLIT)
    plan = workdir.manifest(PLAN)
    tokenizer = workdir.manifest(TOKENIZER)
    tokens = workdir.manifest(TOKENS)
    return Funnel(
        domains=tuple(ingested),
        stages=tuple(stages),
        reasons=tuple(reasons),
        sources=_sources(documents, final),
        quarantined=sum(counts["quarantined"] for counts in documents.summary.get("sources", {}).values()),
        split={
            domain: {name: Count(counts["documents"], counts["bytes"]) for name, counts in parts.items()}
            for domain, parts in sorted((split.summary if split else {}).get("domains", {}).items())
        },
        mix={phase["name"]: phase["domains"] for phase in plan.configuration.get("phases", [])} if plan else {},
        tokenizer=tokenizer.summary if tokenizer else {},
        tokens=tokens.summary.get("domains", {}) if tokens else {},
        packed=_packed(workdir),
    )


def _sources(documents: Manifest, final: Manifest | None) -> dict[str, tuple[str, Count, Count]]:
    """For each source its domain, what came in and what was kept of it."""
    domain_of: dict[str, str] = {source["name"]: source["domain"] for source in documents.configuration.get("sources", [])}
    left = totals(final.summary, by="source") if final else {}
    result = {}
    for name, counts in sorted(documents.summary.get("sources", {}).items()):
        kept = left.get(name, {"kept": 0, "kept_bytes": 0})
        came = Count(counts["documents"], counts["bytes"])
        result[name] = (domain_of.get(name, ""), came, Count(kept["kept"], kept["kept_bytes"]))
    return result


def _packed(workdir: Workdir) -> tuple[Packed, ...]:
    plan = workdir.manifest(PLAN)
    phases = [phase["name"] for phase in plan.configuration.get("phases", [])] if plan else []
    found = []
    for phase in [*phases, "validation"]:
        manifest = workdir.manifest(shards_dataset(phase))
        if manifest is not None and manifest.summary:
            s = manifest.summary
            length = manifest.configuration["length"]
            found.append(Packed(phase, length, s["rows"], s["segments"], s["tokens"], s["slots"], s["domains"]))
    return tuple(found)
