"""A whole recipe with its sources, workdir and run on Swift, behind a proxy that does wrong, beside the same on a local disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kernel.cache import cache_folder
from pipeline.workdir.dataset import Workdir
from storage.folder import Folder
from storage.location import Location
from tests.integration.small import foundry, small_recipe
from tests.storage import swift
from tests.storage.conftest import uri
from tests.storage.proxy import Proxy

pytestmark = [pytest.mark.long, pytest.mark.thorough]
FAULTS = {"500": 41, "503": 53, "403": 61, "drop": 71, "cut": 83, "lost": 97}  # one in so many requests


def test_a_recipe_on_a_store_that_fails_ends_with_the_bytes_of_one_on_local_disk(gate: Proxy, swift_port: int, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path / "recipe")
    body = yaml.safe_load(recipe.read_text())
    there = Folder(Location.parse(uri(swift_port, "/sources")))
    for source in body["sources"]:
        path = Path(source["path"])
        there.write(path.read_bytes(), path.name)
        source["path"] = uri(gate.port, f"/sources/{path.name}")
    for act, every in FAULTS.items():
        gate.add("", act, every=every)
    recipe.write_text(yaml.safe_dump(body))
    local, remote = tmp_path / "local", uri(gate.port, "/work")
    (tmp_path / "cache" / "encoder-foundry").mkdir(parents=True)
    (tmp_path / "cache" / "encoder-foundry" / "kernels").symlink_to(cache_folder("kernels"))  # so that none is compiled again
    machine = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    said = ""
    for workdir in (str(local), remote):
        result = foundry("run", recipe, "--workdir", workdir, env={} if workdir == str(local) else machine)
        said += result.stdout + result.stderr
        assert result.returncode == 0, said
    assert all(fault.seen.is_set() for fault in gate.faults)
    gate.faults.clear()
    assert swift.SECRET not in said
    one, other = Workdir(str(local)), Workdir(remote)
    assert one.datasets() == other.datasets()
    for dataset in one.datasets():
        assert one.require(dataset).partitions == other.require(dataset).partitions, dataset
        for partition in other.require(dataset).partitions:
            other.read_partition(dataset, partition)  # which compares with the checksum
    for name in ("model/model.safetensors", "export/model.safetensors"):
        ours, theirs = one.read("runs", "small", name), other.read("runs", "small", name)
        assert ours is not None
        assert theirs is not None
        assert ours.equals(theirs)
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "recipe" not in path.parts]
    for info in other.folder.infos(recursive=True):
        if info.is_file:
            raw = other.read(info.path.removeprefix(other.path() + "/"))
            written.append(b"" if raw is None else raw.to_pybytes())
    assert not any(swift.SECRET.encode() in raw for raw in written)
