"""Who may import whom: the arrows of docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"kernel", "storage", "pipeline", "tokenizer", "model", "trainer", "evaluation", "jobs", "benchmarks", "tests"}
ALLOWED = {
    "kernel": {"kernel"},
    "storage": {"storage"},
    "model": {"model", "kernel.extensions"},  # so that installed packages may add attention kernels
    "tokenizer": {"tokenizer", "kernel"},
    "pipeline": {"pipeline", "tokenizer", "storage", "kernel"},
    "trainer": {"trainer", "model", "pipeline.shards", "pipeline.held_out", "storage", "kernel"},
    "evaluation": {"evaluation", "trainer", "model", "tokenizer", "pipeline", "storage", "kernel"},
    "jobs": {"jobs", "evaluation", "pipeline", "tokenizer", "model", "trainer", "storage", "kernel"},
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Full names of all that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_along_the_arrows(package: str) -> None:
    for path in modules(package):
        for name in imported(path):
            if name.split(".")[0] in OURS:
                assert any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED[package]), f"{path} imports {name}"


FOLDERS = {  # of pipeline/, in the order of the flow: what each may import of the others
    "workdir": set(),
    "readers": {"workdir"},
    "ingest": {"readers", "workdir"},
    "measure": {"readers", "workdir"},
    "filters": {"measure", "workdir"},
    "dedup": {"workdir"},
    "contamination": {"ingest", "readers", "workdir"},
    "mix": {"dedup", "workdir"},
    "pack": {"", "mix", "workdir"},  # "": shards.py and held_out.py
    "report": {"contamination", "dedup", "filters", "measure", "mix", "pack", "workdir"},
    "": set(),
}


def graph() -> dict[str, set[str]]:
    """Of each module of ours the modules of ours that it imports, wherever in it, with the names of what is in packages followed."""
    files = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in ALLOWED for path in modules(p)}
    names = set(files.values())
    found: dict[str, set[str]] = {}
    for path, name in files.items():
        edges: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                edges |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                edges |= {each if each in names else node.module for each in whole}
        found[name] = (edges & names) - {name}
    return found


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of two and more that import one another in a circle: what is left when all that ends nowhere else is taken away."""
    left = {name: set(targets) for name, targets in edges.items()}
    while ends := {name for name, targets in left.items() if not targets & left.keys()}:
        for name in ends:
            del left[name]
    return [sorted(left)] if left else []


def folder(module: str) -> str:
    """The room of a module: its package, or its folder of pipeline/, with what lies in folders below."""
    parts = module.split(".")
    room = ".".join(parts[:2]) if parts[0] == "pipeline" else parts[0]
    return room if ROOT.joinpath(*room.split(".")).is_dir() else parts[0]


def test_no_circle_of_imports_among_modules_nor_among_folders() -> None:
    edges = graph()
    assert circles(edges) == []
    folders: dict[str, set[str]] = {}
    for name, targets in edges.items():
        folders.setdefault(folder(name), set()).update({folder(target) for target in targets} - {folder(name)})
    assert circles(folders) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["a", "b", "c"]], "that circles are found"


def test_folders_of_the_pipeline_import_only_along_the_flow() -> None:
    for name, targets in graph().items():
        if name.split(".")[0] == "pipeline":
            own = folder(name).removeprefix("pipeline").removeprefix(".")
            others = {folder(target).removeprefix("pipeline").removeprefix(".") for target in targets if target.startswith("pipeline")}
            assert others - {own} <= FOLDERS[own], f"{name} imports from {others - {own} - FOLDERS[own]}"


def test_shards_import_pyarrow_and_numpy_only() -> None:
    import sys

    outside = {name.split(".")[0] for name in imported(ROOT / "pipeline" / "shards.py")} - set(sys.stdlib_module_names)
    assert outside == {"numpy", "pyarrow"}


@pytest.mark.parametrize(
    ("library", "places"),
    [("ray", ("pipeline/workdir/cluster.py", "pipeline/workdir/scheduling.py", "jobs/")), ("deepspeed", ("trainer/",))],
)
def test_heavy_libraries_are_imported_in_their_places_alone(library: str, places: tuple[str, ...]) -> None:
    for package in ALLOWED:
        for path in modules(package):
            if any(name.split(".")[0] == library for name in imported(path)):
                assert path.relative_to(ROOT).as_posix().startswith(places), f"{path} imports {library}"


def test_importing_the_command_line_is_light() -> None:
    """`foundry --help` must not wait for torch, ray or transformers."""
    import subprocess
    import sys

    code = "import jobs.cli, sys; print([m for m in ('torch', 'ray', 'transformers', 'deepspeed', 'numba') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


CLOCKS = {
    "time",
    "time_ns",
    "perf_counter",
    "perf_counter_ns",
    "monotonic",
    "monotonic_ns",
    "process_time",
    "process_time_ns",
    "thread_time",
}


def test_no_test_reads_a_clock() -> None:
    """A slow or busy machine fails none: work is counted in steps (tests/work.py). Fuzzers may be told how long to run.

    And tests/chaos gives ranks some seconds to end, as a launcher does, and sets the clock back.
    """
    fuzzers = {ROOT / "tests" / name for name in ("fuzz/readers.py", "fuzz/code.py", "chaos/training.py", "chaos/pipeline.py")}
    for path in set(modules("tests")) - fuzzers:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Attribute(value=ast.Name(id="time"), attr=name):
                    assert name not in CLOCKS, f"{path}:{node.lineno} reads a clock"
                case ast.ImportFrom(module="time" | "timeit") | ast.Import(names=[ast.alias(name="timeit")]):
                    raise AssertionError(f"{path}:{node.lineno} imports a clock")
