"""What a submitted job does first, on the cluster's head: it looks whether every node has what is needed, then becomes the command.

`python jobs/in_job.py JOB.json ARGUMENTS`. It needs Ray and the standard library alone, so that it can say what else is missing.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import sys
from pathlib import Path
from typing import Any, NoReturn

WAIT = 120.0  # seconds in which each node must have answered
MARK = "FOUNDRY_MARK"  # the variable with a file that is there where the command was given
RESULTS = "FOUNDRY_RESULTS"  # the variable by which the command knows where to leave what the user is sent


def describe(packages: list[str], paths: list[str]) -> dict[str, Any]:
    """What a node has: run on each."""
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    there = [path for path in paths if os.path.exists(path)]
    return {"host": platform.node(), "python": ".".join(platform.python_version_tuple()[:2]), "packages": found, "paths": there}


def differences(job: dict[str, Any], nodes: list[dict[str, Any]]) -> str | None:
    """The first thing that a node lacks, in a line; None where all have what is needed."""
    from packaging.requirements import Requirement

    for node in nodes:
        host = node["host"]
        if node["python"] != job["python"]:
            return (
                f"{host} has Python {node['python']}, and the command was given with {job['python']}; use Python {node['python']} here, or "
                f"{job['python']} on the cluster"
            )
        has = node["packages"]
        wanted = [Requirement(text) for text in job["requirements"]]
        missing = [each.name for each in wanted if each.name not in has]
        if missing:
            more = f" and {len(missing) - 1} more of its dependencies" if len(missing) > 1 else ""
            return (
                f"{host} has no {missing[0]}{more}; install Encoder Foundry {job['version']} on every node, or start the cluster from "
                "an image that has it"
            )
        for each in wanted:
            if not each.specifier.contains(has[each.name], prereleases=True):
                return f"{host} has {each.name} {has[each.name]}, and {each} is needed; install that there"
        if has.get("ray") != job["packages"].get("ray"):
            return f"{host} has Ray {has.get('ray')}, and here it is {job['packages'].get('ray')}; install the same on both sides"
        for path, key in job["paths"].items():
            if path not in node["paths"]:
                return (
                    f"{key}: {path} is not there on {host}; name it by a URI, or put it on storage that all nodes see (files by a "
                    "relative path are sent with the job)"
                )
    return None


def others(job: dict[str, Any], nodes: list[dict[str, Any]]) -> str | None:
    """Which versions differ from those where the command was given, in a line: they may make other bytes."""
    found = sorted({(name, node["packages"][name]) for node in nodes for name in node["packages"]} - set(job["packages"].items()))
    if not found:
        return None
    texts = [f"{name} {version} (here {job['packages'].get(name, 'none')})" for name, version in found]
    return f"the cluster has other versions than the place where the command was given: {', '.join(texts)}"


def unseen(job: dict[str, Any], mark: str, nodes: list[dict[str, Any]]) -> str | None:
    """What is wrong with a workdir that is a folder, where not every node sees it."""
    blind = [node["host"] for node in nodes if mark not in node["paths"]]
    if not blind:
        return None
    return (
        f"workdir {job['workdir']}: {blind[0]} does not see what the head writes there, so that each node would keep a part; give a URI "
        "(s3://bucket/run), or an absolute path on storage that all nodes see"
    )


def ask(ray: Any, packages: list[str], paths: list[str]) -> list[dict[str, Any]]:
    """What each node says of itself. Ends the job where one says nothing."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    alive = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    remote = ray.remote(num_cpus=0, max_retries=0)(describe)
    asked = {
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(packages, paths): host
        for node, host in alive.items()
    }
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=WAIT)
    if late:
        fail(f"{asked[late[0]]} is a node of the cluster and says nothing within {WAIT:.0f} seconds; look at it with `ray status`")
    try:
        found: list[dict[str, Any]] = [ray.get(each) for each in ready]
        return found
    except ray.exceptions.RayError as error:
        fail(f"a node of the cluster cannot begin a task ({' '.join(str(error).split())[:300]})")


def fail(text: str) -> NoReturn:
    """End the job with one line."""
    print(f"foundry: {text}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def place(job: dict[str, Any]) -> tuple[str, str | None]:
    """The workdir, and what is to be said of it. A folder is where it would be without a job if the command was given on this machine."""
    workdir: str = job["workdir"]
    if "://" in workdir:
        return workdir, None
    mark = os.environ.get(MARK, "")
    here = os.path.exists(mark)
    home = os.path.dirname(mark) if here else os.path.expanduser(os.environ.get("FOUNDRY_HOME", "~/encoder-foundry"))
    path = os.path.normpath(os.path.join(home, os.path.expanduser(workdir)))
    if here:
        return path, None
    return path, (
        f"workdir {workdir}: is a folder, and the cluster is elsewhere: it is {path} on {platform.node()}, and not here; give a URI "
        "(s3://bucket/run) to have it where both reach it"
    )


def prepare(job: dict[str, Any]) -> str:
    """Look at the cluster, and make this process ready for the command. Returns the workdir."""
    try:
        import ray
    except ImportError as error:
        fail(f"the cluster's head has no Ray for {sys.executable} ({error})")
    for relative, modified in job["modified"].items():  # Ray does not keep it
        os.utime(relative, ns=(modified, modified))
    context = ray.init(logging_level="ERROR", log_to_driver=False)
    identifier = os.environ.get("FOUNDRY_JOB", "job")
    os.environ[RESULTS] = os.path.join(context.address_info["session_dir"], "logs", f"foundry-{identifier}-")
    names = sorted({*job["packages"], *(re.split(r"[^A-Za-z0-9._-]", text)[0] for text in job["requirements"])})
    workdir, elsewhere = place(job)
    mark = None if "://" in workdir else Path(workdir, f".{secrets.token_hex(8)}.seen")
    try:
        if mark is not None:
            _touch(mark)
        nodes = ask(ray, names, [*job["paths"], *([str(mark)] if mark else [])])
    finally:
        if mark is not None:
            mark.unlink(missing_ok=True)
    wrong = differences(job, nodes) or (unseen(job, str(mark), nodes) if mark is not None else None)
    if wrong:
        fail(wrong)
    warnings = [text for text in (elsewhere, others(job, nodes)) if text is not None]
    print(json.dumps({"kind": "checked", "nodes": sorted(node["host"] for node in nodes), "warnings": warnings}), flush=True)
    ray.shutdown()
    return workdir


def _touch(mark: Path) -> None:
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:
        fail(f"workdir {mark.parent}: cannot be written on {platform.node()} ({error.strerror}); give a URI, or another folder")


def publish(name: str, raw: Any) -> None:
    """Leave a file for the user who follows this job: among the logs, which the dashboard serves."""
    prefix = os.environ.get(RESULTS)
    if prefix and raw is not None:
        Path(prefix + name).write_bytes(raw)


def main() -> None:
    """Check, then become the command."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    workdir = prepare(job)
    if os.environ.get("OMP_NUM_THREADS") == "1" and "OMP_NUM_THREADS" not in os.environ.get("FOUNDRY_GIVEN", "").split(","):
        del os.environ["OMP_NUM_THREADS"]  # Ray's, since a job's command asks for no cores; training takes what it may
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "jobs.cli", *sys.argv[2:], "--workdir", workdir])


if __name__ == "__main__":
    main()
