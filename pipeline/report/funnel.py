"""What came in, what went out and why: the numbers of a workdir, from its manifests, and what of it deserves a look (`alarms.py` and
`mix_alarms.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.contamination.index import NGRAMS
from pipeline.mix.plan import PLAN
from pipeline.mix.sides import NAMES
from pipeline.mix.split import SPLIT
from pipeline.mix.tokens import TOKENIZER
from pipeline.pack.sample import SAMPLE
from pipeline.pack.stage import shards_dataset
from pipeline.report.alarms import Alarm, alarms
from pipeline.report.mix_alarms import mix_alarms
from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.documents import DOCUMENTS, TOKENS
from pipeline.workdir.verdicts import ORDER, totals, verdict_dataset


@dataclass(frozen=True)
class Count:
    """Documents, and bytes of their text."""

    documents: int
    bytes: int


@dataclass(frozen=True)
class Sampled:
    """The held-out sample that runs are evaluated on, and its tokens by domain."""

    pieces: int
    documents: int
    tokens: int
    domains: dict[str, int]


@dataclass(frozen=True)
class Packed:
    """How one phase was packed: `slots` is how many tokens its rows have room for."""

    phase: str
    length: int
    rows: int
    segments: int
    tokens: int
    slots: int
    domains: dict[str, int]  # ids, special tokens left out

    @property
    def efficiency(self) -> float:
        """Share of the slots that hold a token."""
        return self.tokens / self.slots if self.slots else 0.0


@dataclass(frozen=True)
class Contaminated:
    """What was found of one evaluation set."""

    name: str
    items: int
    too_short: int  # items that have too few words to be looked for
    unreadable: int
    ngrams: int
    instructions: int  # n-grams that many items share: no evidence, and not looked for
    documents: int  # of the corpus, with an n-gram of the set


@dataclass(frozen=True)
class Mixed:
    """What a phase asks of a group, what there is, and what that means in one pass over the mix."""

    domain: str
    share: float
    available: int  # tokens
    epochs: float
    documents: int  # that are seen
    repeated: int  # how often one of them is seen again
    tokens: int


@dataclass(frozen=True)
class Funnel:
    """The stages in order, each with what it left of each domain; and the numbers of drops, cuts, the mix, tokens and packing."""

    domains: tuple[str, ...]
    stages: tuple[tuple[str, dict[str, Count]], ...]
    reasons: tuple[tuple[str, str, dict[str, int]], ...]  # stage, rule, documents by domain
    sources: dict[str, tuple[str, Count, Count]]  # source -> domain, in, out
    quarantined: int
    cuts: tuple[tuple[str, dict[str, Count]], ...]  # stage, and by domain the documents and bytes that it cut
    contamination: tuple[Contaminated, ...]
    warnings: tuple[Alarm, ...]
    split: dict[str, dict[str, Count]]  # domain -> the documents of each split
    mix: dict[str, dict[str, Mixed]]  # phase -> group
    tokenizer: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, dict[str, int]] = field(default_factory=dict)  # domain -> documents, tokens, bytes
    packed: tuple[Packed, ...] = ()

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have documents, in their order: train, validation, test."""
        return tuple(name for name in NAMES if any(name in counts for counts in self.split.values()))

    @property
    def split_rows(self) -> list[tuple[str, list[str]]]:
        """Of each domain the documents of each of `splits`, and their share of the domain's text, as words."""
        rows = []
        for domain, counts in self.split.items():
            whole = max(1, sum(count.bytes for count in counts.values()))
            found = [counts.get(name) for name in self.splits]
            rows.append((domain, [f"{count.documents:,} ({count.bytes / whole:.1%})" if count else "0" for count in found]))
        return rows

    sampled: Sampled | None = None


def funnel(workdir: Workdir) -> Funnel:
    """Read the manifests of a workdir. What has not been made yet is empty. Raises `UserError` where nothing was ingested."""
    documents = workdir.require(DOCUMENTS)
    ingested = {
        domain: Count(counts["documents"], counts["bytes"]) for domain, counts in sorted(documents.summary.get("domains", {}).items())
    }
    stages: list[tuple[str, dict[str, Count]]] = [("ingest", ingested)]
    reasons: list[tuple[str, str, dict[str, int]]] = []
    cuts: list[tuple[str, dict[str, Count]]] = []
    final: Manifest | None = None
    for name in ORDER:
        manifest = workdir.manifest(verdict_dataset(name))
        if manifest is None:
            continue
        final = manifest
        sums = totals(manifest.summary)
        stages.append((name, {domain: Count(sums[domain]["kept"], sums[domain]["kept_bytes"]) for domain in sorted(sums)}))
        cut = {domain: Count(sums[domain]["cut"], sums[domain]["cut_bytes"]) for domain in sorted(sums) if sums[domain]["cut"]}
        if cut:
            cuts.append((name, cut))
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
        cuts=tuple(cuts),
        contamination=_contamination(workdir),
        warnings=(*alarms(workdir), *mix_alarms(workdir)),
        split=_split(split),
        mix=_mix(plan),
        tokenizer=tokenizer.summary if tokenizer else {},
        tokens=tokens.summary.get("domains", {}) if tokens else {},
        packed=_packed(workdir),
        sampled=_sampled(workdir),
    )


def _contamination(workdir: Workdir) -> tuple[Contaminated, ...]:
    index, verdict = workdir.manifest(NGRAMS), workdir.manifest(verdict_dataset("contamination"))
    if index is None or verdict is None:
        return ()
    hits = verdict.summary.get("sets", {})
    return tuple(
        Contaminated(
            name, s["items"], s["too_short"], s["unreadable"], s["ngrams"], s.get("instructions", 0), hits.get(name, {}).get("documents", 0)
        )
        for name, s in sorted(index.summary["sets"].items())
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


def _split(split: Manifest | None) -> dict[str, dict[str, Count]]:
    found: dict[str, dict[str, Count]] = {}
    for domain, sources in sorted((split.summary if split else {}).get("sources", {}).items()):
        for parts in sources.values():
            for name, counts in parts.items():
                before = found.setdefault(domain, {}).get(name, Count(0, 0))
                found[domain][name] = Count(before.documents + counts["documents"], before.bytes + counts["bytes"])
    return found


def _mix(plan: Manifest | None) -> dict[str, dict[str, Mixed]]:
    found: dict[str, dict[str, Mixed]] = {}
    for phase in plan.configuration.get("phases", []) if plan else []:
        counts = plan.summary.get("phases", {}).get(phase["name"], {}) if plan else {}
        groups = found.setdefault(phase["name"], {})
        for group in phase["groups"]:
            made = counts.get(group["group"], {"documents": 0, "repeated": 0, "tokens": 0})
            groups[group["group"]] = Mixed(
                group["domain"],
                group["share"],
                group["available"],
                group["epochs"],
                made["documents"],
                made["repeated"],
                made["tokens"],
            )
    return found


def _sampled(workdir: Workdir) -> Sampled | None:
    sample = workdir.manifest(SAMPLE)
    if sample is None or not sample.rows:
        return None
    s = sample.summary
    domains = {domain: sum(counts["tokens"] for counts in sources.values()) for domain, sources in s["sources"].items()}
    return Sampled(s["pieces"], s["documents"], s["tokens"], domains)


def _packed(workdir: Workdir) -> tuple[Packed, ...]:
    plan = workdir.manifest(PLAN)
    phases = [phase["name"] for phase in plan.configuration.get("phases", [])] if plan else []
    found = []
    for phase in phases:
        manifest = workdir.manifest(shards_dataset(phase))
        if manifest is not None and manifest.summary:
            s = manifest.summary
            length = manifest.configuration["length"]
            found.append(Packed(phase, length, s["rows"], s["segments"], s["tokens"], s["slots"], s["domains"]))
    return tuple(found)
