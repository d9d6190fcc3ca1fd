"""How a stage's output becomes its datasets: what is done of it, and the change from the old to the new.

Each task that is done leaves a *record* of its key, its files with their checksums, and its summary. While a stage runs, a record is a
file of its own in the folder `_tasks` of the stage's first dataset; of a finished stage they are all in one file, `_tasks.json`.

Where no dataset of the stage is finished, tasks write into its folders. Where one is, they write into the folder `_new` of each dataset
instead, and what is finished stays as it is and can be read, until all of the new is there. Then `_new/_commit.json` is written, which says
all that is to be done; from there on the new is carried through, by this run or, after a crash, by the next.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from pipeline.workdir.dataset import COMMIT, FORMAT, MANIFEST, NEW, RECORDS, TASKS, Manifest, Partition, Workdir

Summary = dict[str, Any]

_THREADS = 16  # requests at a time; on object storage each takes some milliseconds


@dataclass(frozen=True)
class TaskRecord:
    """A task that is done. `outputs`: the partitions that it wrote, by dataset; `folder`: where they are, within the dataset's."""

    key: str
    outputs: dict[str, list[Partition]]
    summary: Summary = field(default_factory=dict)
    folder: str = ""

    def body(self) -> dict[str, Any]:
        """What is written of it."""
        outputs = {dataset: [asdict(partition) for partition in made] for dataset, made in self.outputs.items()}
        return {"key": self.key, "outputs": outputs, "summary": self.summary}

    @classmethod
    def of(cls, body: Any, folder: str) -> TaskRecord | None:
        """The record that a body is; None where it is none, as of a damaged file: its task is run again."""
        try:
            outputs = {str(name): [Partition.from_entry(entry) for entry in made] for name, made in body["outputs"].items()}
            if isinstance(body["key"], str) and isinstance(body["summary"], dict):
                return cls(body["key"], outputs, body["summary"], folder)
        except (KeyError, TypeError, AttributeError):
            pass
        return None

    def is_whole(self, sizes: dict[str, dict[str, int]]) -> bool:
        """Whether every file is there with its size; `sizes`: those of the folders, by dataset."""
        return all(sizes[dataset].get(made.name) == made.bytes for dataset, many in self.outputs.items() for made in many)


@dataclass(frozen=True)
class Ledger:
    """What of a stage's tasks is done. The first of its datasets, `home`, has the records."""

    workdir: Workdir
    datasets: tuple[str, ...]

    @property
    def home(self) -> str:
        """The dataset that has the records."""
        return self.datasets[0]

    def folder(self) -> str:
        """Where within a dataset's folder tasks must write: beside a finished dataset, else into the folder itself."""
        return NEW if any(MANIFEST in self.workdir.sizes(dataset) for dataset in self.datasets) else ""

    def done(self, keys: dict[str, str]) -> dict[str, TaskRecord]:
        """The records of the tasks that are done, by their names; `keys`: of all tasks, by their names."""
        found: dict[str, TaskRecord] = {}
        for folder in ("", NEW):
            sizes = self._sizes(folder)
            for name, record in self._records(folder, keys):
                if record.key == keys[name] and set(record.outputs) <= set(sizes) and record.is_whole(sizes):
                    found[name] = record
        return found

    def _records(self, folder: str, keys: Iterable[str]) -> Iterable[tuple[str, TaskRecord]]:
        """The records in a folder, of those in one file first: a file of its own is newer."""
        together = self.workdir.json(*_within(self.home, folder), RECORDS) if not folder else None
        if isinstance(together, dict) and together.get("format") == FORMAT and isinstance(together.get("tasks"), dict):
            tasks = together["tasks"]
            yield from ((name, record) for name in keys if name in tasks and (record := TaskRecord.of(tasks[name], folder)) is not None)
        place = (*_within(self.home, folder), TASKS)
        there = self.workdir.sizes(*place)
        names = [name for name in keys if f"{name}.json" in there]
        with ThreadPoolExecutor(_THREADS) as pool:
            for name, body in zip(names, pool.map(lambda name: self.workdir.json(*place, f"{name}.json"), names), strict=True):
                record = TaskRecord.of(body, folder) if isinstance(body, dict) and body.get("format") == FORMAT else None
                if record is not None:
                    yield name, record

    def begin(self, folder: str, missing: Iterable[str]) -> None:
        """Forget what is known of tasks that are to be run, since they write over their files. `folder`: where they write."""
        place = (*_within(self.home, folder), TASKS)
        stale = self.workdir.sizes(*place)
        names = set(missing)
        _each(partial(self.workdir.delete, *place), [f"{name}.json" for name in sorted(names) if f"{name}.json" in stale])
        together = self.workdir.json(self.home, RECORDS) if not folder else None
        if isinstance(together, dict) and isinstance(together.get("tasks"), dict) and names & set(together["tasks"]):
            tasks = {name: body for name, body in together["tasks"].items() if name not in names}
            self.workdir.write(_records(tasks), self.home, RECORDS)

    def has_new(self) -> bool:
        """Whether something was begun beside the finished datasets."""
        return NEW in self.workdir.folders(self.home)

    def forget_new(self) -> None:
        """Delete what was begun beside the finished datasets and is no longer asked for."""
        for dataset in reversed(self.datasets):
            self.workdir.delete_folder(dataset, NEW)

    def write(self, name: str, record: TaskRecord) -> None:
        """Write the record of a task that is done."""
        raw = json.dumps({"format": FORMAT, **record.body()}, sort_keys=True).encode()
        self.workdir.write(raw, *_within(self.home, record.folder), TASKS, f"{name}.json")

    def changed(self, records: dict[str, TaskRecord]) -> str | None:
        """A task whose files are not those of its record, as where a process of a run that was killed wrote over them later."""
        sizes = {folder: self._sizes(folder) for folder in {record.folder for record in records.values()}}
        return next((name for name in sorted(records) if not records[name].is_whole(sizes[records[name].folder])), None)

    def _sizes(self, folder: str) -> dict[str, dict[str, int]]:
        return {dataset: self.workdir.sizes(*_within(dataset, folder)) for dataset in self.datasets}

    def commit(self, manifests: dict[str, Manifest], records: dict[str, TaskRecord], index: str | None) -> None:
        """Make the tasks' files the datasets. `index`: a file that lists a dataset's partitions for readers that know no manifests."""
        moved: dict[str, list[str]] = {dataset: [] for dataset in self.datasets}
        for record in records.values():
            if record.folder:
                for dataset, made in record.outputs.items():
                    moved[dataset].extend(partition.name for partition in made)
        bodies = {name: json.loads(manifest.to_json()) for name, manifest in manifests.items()}
        tasks = {name: records[name].body() for name in sorted(records)}
        body = {"format": FORMAT, "manifests": bodies, "tasks": tasks, "moved": moved, "index": index}
        if self.folder():
            self.workdir.write(json.dumps(body, sort_keys=True).encode(), self.home, NEW, COMMIT)
        self._carry_through(body)

    def recover(self) -> bool:
        """Carry through what a run that was ended in the middle had begun to commit; returns whether there was such."""
        body = self.workdir.json(self.home, NEW, COMMIT)
        begun = isinstance(body, dict) and body.get("format") == FORMAT
        if begun:
            self._carry_through(body)
        return begun

    def _carry_through(self, body: dict[str, Any]) -> None:
        """Each step may have been done before. The manifest of a dataset is there only while its files are those that it names."""
        workdir = self.workdir
        manifests = {
            name: Manifest.from_json(json.dumps(entry).encode(), workdir.path(name, MANIFEST)) for name, entry in body["manifests"].items()
        }
        moved = {name: set(names) & set(workdir.sizes(name, NEW)) for name, names in body["moved"].items()}
        if any(moved.values()):
            for dataset in manifests:
                workdir.delete(dataset, MANIFEST)
        for dataset, manifest in manifests.items():
            _each(partial(_move, workdir, dataset), sorted(moved[dataset]))
            keep = {partition.name for partition in manifest.partitions} | {MANIFEST, RECORDS, body["index"]}
            _each(partial(workdir.delete, dataset), [name for name in workdir.sizes(dataset) if name not in keep])
        workdir.write(_records(body["tasks"]), self.home, RECORDS)
        workdir.delete_folder(self.home, TASKS)
        for dataset, manifest in manifests.items():
            if body["index"] is not None:
                workdir.write(manifest.to_index(), dataset, body["index"])
            workdir.write(manifest.to_json(), dataset, MANIFEST)
        for dataset in reversed(self.datasets):  # the first of them has what is to be done
            workdir.delete_folder(dataset, NEW)


def _records(tasks: dict[str, Any]) -> bytes:
    """The content of the one file with the records of many tasks: a task a line, for who looks at it."""
    lines = ",\n".join(f"{json.dumps(name)}:{json.dumps(tasks[name], sort_keys=True)}" for name in sorted(tasks))
    return f'{{"format":{FORMAT},"tasks":{{\n{lines}\n}}}}'.encode()


def _within(dataset: str, folder: str) -> tuple[str, ...]:
    return (dataset, folder) if folder else (dataset,)


def _move(workdir: Workdir, dataset: str, name: str) -> None:
    workdir.move((dataset, NEW, name), (dataset, name))


def _each(action: Callable[[str], None], names: Sequence[str]) -> None:
    """Do something with each file, several at a time. Raises what the first that fails raises."""
    if names:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(action, names))
