"""The schemas of the pipeline's tables: documents, quarantined records, verdicts."""

from __future__ import annotations

import pyarrow as pa

from pipeline.workdir.cuts import CUTS

DOCUMENTS = "documents"
QUARANTINE = "quarantine"
STATISTICS = "statistics"
TOKENS = "tokens"

CODE = "code"  # the domain whose documents are treated as programs


def source_of(partition: str) -> str:
    """The one source of a partition's documents, from the partition's name, SOURCE-CHUNK-PART.parquet."""
    return partition.rsplit("-", 2)[0]


DOCUMENT_SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # SOURCE:ID, with the record's own id, or its place in the source
        ("text", pa.string()),
        ("domain", pa.string()),
        ("source", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("language", pa.string()),  # as the source declares it: en, de; Python, C
        ("license", pa.string()),
        ("path", pa.string()),
        ("date", pa.string()),
        ("meta", pa.string()),  # JSON: whatever else the record had
    ]
)

QUARANTINE_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("location", pa.string()),  # file, member, and line or byte offset
        ("error", pa.string()),
        ("raw", pa.binary()),  # the record's first bytes
    ]
)

# One row for each document, in a partition of the same name as the documents'. `keep` is null where an earlier stage has dropped the
# document, so that this stage did not look at it.
VERDICT_SCHEMA = pa.schema(
    [
        ("keep", pa.bool_()),
        ("rule", pa.string()),  # the first rule that dropped it
        ("value", pa.float64()),  # what was measured
        ("estimate", pa.float64()),  # near duplicates: what the signatures estimate, where `value` is the true similarity
        ("limit", pa.float64()),  # what was allowed
        ("detail", pa.string()),  # in words, where a number is not enough
        (
            "duplicate_of",
            pa.int64(),
        ),  # ordinal of the one that stays instead (of another copy, where none stays); null where that is in an index
        ("component", pa.int64()),  # ordinal of the first member of its cluster of duplicates
        ("component_size", pa.int64()),
        ("cluster", pa.uint64()),  # near duplicates: name of the component, also for those that stay; the same in any corpus
        ("cuts", CUTS),  # of a document that is kept: byte spans to leave out
    ]
)
