"""Near duplicates by MinHash and locality-sensitive hashing (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3).

1. sign: MinHash of each document's shingles; each band of a signature is hashed, and band hashes are scattered (`sign`).
2. pair: documents that share a band are candidates: each is paired with the first of the band (`candidates`).
3. components of the graph of candidates (`components`).
4. members: the shingle sets of the members alone, scattered by component (`members`).
5. decide: within each component, which documents stay as representatives, by the true Jaccard similarity (`representatives`).
6. verdicts (`verdict`).

Text is read in step 1, and in step 4 for the members of a component alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.dedup import candidates, index, members, representatives, seen, sign
from pipeline.dedup.components import find_components
from pipeline.dedup.exact import Drop
from pipeline.dedup.shingles import Unit
from pipeline.dedup.shuffle import Layout
from pipeline.dedup.signing import BANDS, SIGNATURES, Signing, band_buckets
from pipeline.dedup.verdict import duplicate_verdict_stage
from pipeline.workdir.dataset import Manifest
from pipeline.workdir.engine import Engine
from pipeline.workdir.verdicts import verdict_dataset
from storage.location import Place

# (width, bands, rows) where the recipe names neither these nor a threshold.
PRESETS: dict[Unit, tuple[int, int, int]] = {
    "words": (5, 14, 8),  # FineWeb (Penedo et al. 2024, arXiv 2406.17557, section 3.4)
    "characters": (24, 20, 13),  # NeMo Curator's fuzzy deduplication
}


class NearConfig(BaseModel):
    """Near deduplication by MinHash LSH; the defaults are FineWeb's, with every pair verified."""

    model_config = ConfigDict(extra="forbid")

    shingles: Unit = Field("words", description="What shingles are made of: words, or characters.")
    width: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Words or characters in a shingle; null: 5 (FineWeb) or 24 (NeMo Curator). In scripts without spaces a shingle "
        "of words has as many characters as so many words have on average.",
    )
    threshold: float = Field(
        0.75,
        gt=0,
        le=1,
        description="A document is dropped if its Jaccard similarity to one that stays is at least this (FineWeb: 0.75). Given "
        "without `bands` and `rows`, it chooses them too, as datasketch's optimum for it.",
    )
    bands: int | None = Field(
        None, ge=1, le=1024, description="Bands of the signature; null: 14 (FineWeb), or 20 for characters (NeMo Curator)."
    )
    rows: int | None = Field(None, ge=1, le=1024, description="Rows of a band; null: 8 (FineWeb), or 13 for characters (NeMo Curator).")
    permutations: int = Field(
        128,
        ge=2,
        le=4096,
        description="Most values of a signature, `bands` times `rows`, where the threshold chooses these (datasketch: 128).",
    )
    seed: int = Field(1, ge=0, le=2**32 - 1, description="Seed of the permutations (datasketch: 1).")
    verify: bool = Field(
        True, description="Decide by the true Jaccard similarity of the shingle sets; false: by the signatures' estimate of it."
    )
    cluster: Literal["representative", "transitive"] = Field(
        "representative",
        description="representative: drop what is similar enough to the representative, which stays; transitive: keep one of each chain of "
        "duplicates, however little it resembles the others.",
    )
    keep: Literal["first", "longest", "best"] = Field(
        "first", description="Which copy stays: the first in the corpus, the longest, or the one with the best `statistic`."
    )
    drop: Drop = Field(
        "copies",
        description="copies: what resembles a representative; all: the representative too where anything does, so that none of them stays.",
    )
    statistic: str | None = Field(
        None, description="With `keep: best`: the column of statistics/ whose highest value stays; `-name`: whose lowest."
    )
    prefer: list[str] = Field(
        default_factory=list, description="Sources whose copies are preferred to those of other sources, the most preferred first."
    )
    compare: int = Field(
        256, ge=1, description="Most representatives in each band that a candidate is compared with; a warning counts those left out."
    )
    alarm_share: float = Field(0.5, gt=0, le=1, description="Greatest share of a source's documents that may be dropped without a warning.")
    pairs_in_memory: int = Field(
        50_000_000,
        ge=0,
        description="Most candidate pairs whose components one task finds in memory; more are worked on in rounds over buckets.",
    )
    against: list[Place] = Field(
        repr=False,
        default_factory=list,
        description="Indexes of earlier runs (their workdirs, or copies of their `index/near`): a document that resembles one in "
        "them is dropped.",
    )
    save_index: bool = Field(
        False, description="Save an index of the documents that stay, for later runs' `against`: `index/near` in the workdir."
    )
    seen: list[Place] = Field(
        repr=False,
        default_factory=list,
        description="Bloom indexes of earlier runs (their workdirs, or copies of their `index/seen`): a document that shares a band "
        "with any document in them is dropped, without verification.",
    )
    save_seen: bool = Field(False, description="Save a Bloom index of all documents, for later runs' `seen`: `index/seen` in the workdir.")
    seen_false_positives: float = Field(
        1e-3, gt=0, lt=1, description="Share of new documents that a saved Bloom index takes for seen, by chance."
    )

    @model_validator(mode="after")
    def _choose(self) -> NearConfig:
        width, bands, rows = PRESETS[self.shingles]
        if self.width is None:
            self.width = width
        if (self.bands is None) != (self.rows is None):
            raise ValueError("give both `bands` and `rows`, or neither")
        if self.bands is None:
            if "threshold" in self.model_fields_set:
                from datasketch.lsh import _optimal_param

                bands, rows = (int(number) for number in _optimal_param(self.threshold, self.permutations, 0.5, 0.5))
            self.bands, self.rows = bands, rows
        if (self.keep == "best") != (self.statistic is not None):
            raise ValueError("`keep: best` and `statistic` go together: name the column of statistics/ that decides")
        return self

    @property
    def layout(self) -> tuple[int, int]:
        """(bands, rows)."""
        assert self.bands is not None, "chosen when the configuration was made"
        assert self.rows is not None, "chosen when the configuration was made"
        return self.bands, self.rows

    @property
    def signing(self) -> Signing:
        """What determines signatures and bands: indexes can be compared only where it is equal."""
        bands, rows = self.layout
        assert self.width is not None, "chosen when the configuration was made"
        return Signing(self.shingles, self.width, bands, rows, self.seed)


def near_deduplicate(
    engine: Engine, config: NearConfig, documents: Manifest, statistics: Manifest, before: Sequence[Manifest]
) -> list[Manifest]:
    """Run all stages; returns the verdicts `near`, and `seen` before it where Bloom indexes are given."""
    signing = config.signing
    indexes = [index.open_index(uri, signing) for uri in config.against]
    blooms = [seen.open_seen(uri, signing) for uri in config.seen]
    verdicts = list(before)
    made: list[Manifest] = []
    signed = engine.run(sign.sign_stage(signing, blooms, documents, before)).manifests
    if blooms:
        stage = seen.seen_stage(signed[SIGNATURES], statistics, before)
        made.append(engine.run(stage).manifests[seen.SEEN_VERDICT])
        verdicts.append(made[-1])
    bands = signed[BANDS]
    buckets = band_buckets(signing, documents)
    starts, prior = index.place(indexes, documents)
    pairs = engine.run(candidates.pair_stage(bands, buckets, indexes)).manifests[candidates.PAIRS]
    found = find_components(engine, pairs, Layout(starts), config.pairs_in_memory)
    rank = members.Ranking(config.keep, config.statistic, tuple(config.prefer))
    rank.check(engine.workdir, statistics)
    stage = members.members_stage(signing, rank, found, signed[SIGNATURES], documents, statistics, before, prior)
    sets = engine.run(stage).manifests[members.MEMBERS]
    rule = representatives.Rule(config.threshold, config.verify, config.cluster == "transitive", config.compare)
    groups = engine.run(representatives.representatives_stage(rule, signing, sets, documents, config.drop)).manifests[
        representatives.GROUPS
    ]
    name = verdict_dataset("near")
    stage = duplicate_verdict_stage("near", groups, statistics, verdicts, config.threshold, prior, config.model_dump(mode="json"))
    made.append(engine.run(stage).manifests[name])
    if config.save_index:
        engine.run(index.index_stage(signing, signed[SIGNATURES], documents, [*verdicts, made[-1]]))
    if config.save_seen:
        engine.run(seen.save_seen_stage(signing, config.seen_false_positives, bands, buckets))
    return made
