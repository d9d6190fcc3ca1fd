"""The workdir: whole files, checksums, manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.workdir.dataset import Manifest, Partition, Workdir, fingerprint, to_ipc, to_parquet
from pipeline.workdir.errors import CorruptData, UserError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=8
)


@given(st.dictionaries(st.text(), JSON))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    assert fingerprint(value) == fingerprint(dict(reversed(list(value.items()))))


@given(JSON, JSON)
def test_fingerprints_differ_where_values_do(one: object, other: object) -> None:
    import json

    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(one) == fingerprint(other)) == same


def test_a_flipped_bit_is_found_and_the_file_named(workdir: Workdir) -> None:
    raw = to_parquet(pa.table({"a": list(range(100))}))
    workdir.write(raw, "numbers", "part.parquet")
    import xxhash

    partition = Partition("part.parquet", 100, raw.size, xxhash.xxh3_128_hexdigest(raw))
    assert workdir.read_table("numbers", partition).num_rows == 100
    path = Path(workdir.path("numbers", "part.parquet"))
    damaged = bytearray(path.read_bytes())
    damaged[50] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CorruptData, match=r"numbers/part\.parquet.*checksum"):
        workdir.read_table("numbers", partition)
    path.unlink()
    with pytest.raises(CorruptData, match=r"numbers/part\.parquet.*missing"):
        workdir.read_table("numbers", partition)


def test_writing_leaves_nothing_but_the_file(workdir: Workdir) -> None:
    workdir.write(b"one", "d", "f")
    workdir.write(b"two", "d", "f")
    assert workdir.sizes("d") == {"f": 3}
    read = workdir.read("d", "f")
    assert read is not None
    assert read.to_pybytes() == b"two"
    assert workdir.read("d", "none") is None


def test_an_unfinished_dataset_names_the_command_that_makes_it(workdir: Workdir) -> None:
    with pytest.raises(UserError, match="foundry run"):
        workdir.require("documents")


def test_a_manifest_survives_its_json() -> None:
    manifest = Manifest("documents", "ingest", "f", (Partition("a", 3, 10, "x"), Partition("b", 4, 11, "y")), {"k": 1}, {"n": {"m": 2}})
    again = Manifest.from_json(manifest.to_json(), "here")
    assert again == manifest
    assert again.starts == {"a": 0, "b": 3}
    assert again.rows == 7


def test_a_manifest_of_another_format_is_refused() -> None:
    raw = Manifest("d", "s", "f", ()).to_json().replace(b'"format": 1', b'"format": 99')
    with pytest.raises(UserError, match="format 99"):
        Manifest.from_json(raw, "here")
    with pytest.raises(CorruptData, match="not a manifest"):
        Manifest.from_json(b"{", "here")


def test_the_same_table_gives_the_same_bytes() -> None:
    table = pa.table({"text": ["a", "ü", None], "n": [1, 2, 3]})
    assert to_parquet(table).equals(to_parquet(table))
    assert to_ipc(table.to_batches(), table.schema).equals(to_ipc(table.to_batches(), table.schema))


def test_a_workdir_that_cannot_be_opened_is_one_line() -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        Workdir("nosuch://bucket/x").sizes()
