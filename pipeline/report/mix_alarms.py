"""What of the split, the tokenizer and the mix deserves a look: splits without documents, entries that the corpus cannot fill, and shares
that a phase misses."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.mix.config import MixConfig
from pipeline.mix.plan import PLAN
from pipeline.mix.split import SPLIT, TEST, VALIDATION
from pipeline.mix.tokens import TOKENIZER
from pipeline.report.alarms import Alarm
from pipeline.workdir.dataset import Manifest, Workdir

MISSED = 0.02  # of a phase's tokens: a group's share that is further off is told


def mix_alarms(workdir: Workdir) -> list[Alarm]:
    """All that is unusual; of what has not been made yet, or was made of another split, nothing."""
    split, tokenizer, plan = (workdir.manifest(name) for name in (SPLIT, TOKENIZER, PLAN))
    found: list[Alarm] = []
    if split is not None:
        found += _of_split(split)
    if tokenizer is not None:
        found += vocabulary_alarms(tokenizer)
    if plan is not None and split is not None and plan.configuration.get("split") == split.content:
        found += _of_mix(plan)
    return found


def _of_split(split: Manifest) -> Iterator[Alarm]:
    """Splits that have none of a domain though its recipe asks for some, and documents that are in none."""
    config = MixConfig.model_validate({name: split.configuration[name] for name in MixConfig.model_fields if name in split.configuration})
    sources = split.summary.get("sources", {})
    for place, name in enumerate((VALIDATION, TEST)):
        asked = {domain: share for domain in sorted(sources) if (share := config.held_out(domain)[place])}
        empty = {domain: share for domain, share in asked.items() if not any(counts.get(name) for counts in sources[domain].values())}
        remedy = f"raise mix.{name}_share, add documents, or hold out smaller groups (mix.hold_out_by)"
        if empty and len(empty) == len(asked):
            yield Alarm(f"the {name} split is empty: none of the documents is held out; {remedy}")
            continue
        for domain, share in empty.items():
            documents = sum(part["documents"] for counts in sources[domain].values() for part in counts.values())
            yield Alarm(
                f"no document of domain {domain} is in the {name} split: {share:.2%} of {documents:,} documents, held out by "
                f"{config.grouping(domain)}, are none; {remedy}"
            )
    left_out = sum(counts["documents"] for each in split.summary.get("left_out", {}).values() for counts in each.values())
    if left_out:
        yield Alarm(
            f"{left_out:,} documents are in no split: they would be held out, but their text, or a near copy of it, stands in training "
            "or is held out already; `foundry explain` shows each"
        )


def vocabulary_alarms(tokenizer: Manifest) -> Iterator[Alarm]:
    """A vocabulary that the corpus cannot fill. What `min_token_uses` prunes is meant."""
    settings, counts = tokenizer.configuration, tokenizer.summary
    spare = counts.get("unused", 0) - settings.get("unused", 0)
    if spare > 0 and not settings.get("min_token_uses"):
        size = settings["vocab_size"]
        least = -(-(size - spare) // 64) * 64
        yield Alarm(
            f"the corpus fills {counts['learned']:,} of {counts['learned'] + spare:,} entries that the tokenizer may learn; {spare:,} stay "
            f"[unusedN]. Lower tokenizer.vocab_size and model.vocab_size from {size:,} to {least:,}, or add text"
        )


def _of_mix(plan: Manifest) -> Iterator[Alarm]:
    """Shares that a phase misses, as where a group has fewer and longer documents than its share can be made of."""
    for phase in plan.configuration.get("phases", []):
        counts = plan.summary.get("phases", {}).get(phase["name"], {})
        total = sum(group["tokens"] for group in counts.values())
        missed = []
        for group in phase["groups"]:
            made = counts.get(group["group"], {"tokens": 0, "documents": 0})
            share = made["tokens"] / total if total else 0.0
            if abs(share - group["share"]) > MISSED:
                missed.append(
                    f"{group['group']} has {share:.1%} of the tokens, asked are {group['share']:.1%} ({made['tokens']:,} of "
                    f"{group['wanted']:,} tokens, {made['documents']:,} documents)"
                )
        if missed:
            yield Alarm(
                f"phase {phase['name']}: {', '.join(missed)}; documents are drawn whole, so a larger pass (`tokens` of its mix) or more "
                "documents come nearer"
            )
