"""What other installed packages add to the project, by Python entry points (docs/extending.md).

A registry is a mapping written out in one place, with what is built in; what an installed package names under the entry-point group
`encoder_foundry.GROUP` comes into it under the entry point's name. Names are read from the packages' metadata; a package is
imported only when what it adds is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

T = TypeVar("T")
P = TypeVar("P")
PREFIX = "encoder_foundry."


class ExtensionError(Exception):
    """An installed package adds something that cannot be had: one line with the package, the entry point and the cause."""


def installed(group: str) -> str:
    """A sentence for descriptions, with a blank before it, that names what packages add to a group; empty where they add nothing."""
    names = sorted({point.name for point in entry_points(group=PREFIX + group)})
    return f" Installed: {', '.join(names)}." if names else ""


class Registry(Mapping[str, T], Generic[T]):
    """Things by name: `built_in`, and those that installed packages add under `encoder_foundry.GROUP`.

    `kind` is what an entry point must be: an instance of it, or a class below it; `taken`: names that none may have, besides the
    built-in ones. Raises `ExtensionError` where a name is taken already, where a package cannot be imported, and where what it names is
    of another kind.
    """

    def __init__(self, group: str, kind: type, built_in: Mapping[str, T], taken: Collection[str] = ()) -> None:
        self.group, self.kind, self.built_in, self._taken = PREFIX + group, kind, built_in, taken
        self._added: dict[str, EntryPoint] | None = None
        self._loaded: dict[str, T] = {}

    @property
    def added(self) -> dict[str, EntryPoint]:
        """The entry points of installed packages by name, sorted; nothing is imported."""
        if self._added is None:
            found: dict[str, EntryPoint] = {}
            for point in sorted(entry_points(group=self.group), key=lambda point: (point.name, package_of(point), point.value)):
                if point.name in self.built_in or point.name in self._taken:
                    raise ExtensionError(f"{self._place(point)}: the name is built in; rename the entry point, or uninstall the package")
                if point.name in found and _same(point, found[point.name]):
                    continue  # one distribution that is found twice on the path
                if point.name in found:
                    other = package_of(found[point.name])
                    raise ExtensionError(f"{self._place(point)}: package {other} adds this name too; uninstall one of them")
                found[point.name] = point
            self._added = found
        return self._added

    def __getitem__(self, name: str) -> T:
        if name in self.built_in:
            return self.built_in[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(self.added[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.built_in, *self.added))

    def __len__(self) -> int:
        return len(self.built_in) + len(self.added)

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in self.added  # a mapping's own would import it

    def _load(self, point: EntryPoint) -> T:
        try:
            found = point.load()
        except Exception as error:  # a package that is imported may raise whatever it likes
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise ExtensionError(f"{self._place(point)}: cannot be imported ({why}); mend the package, or uninstall it") from error
        if not (issubclass(found, self.kind) if isinstance(found, type) else isinstance(found, self.kind)):
            raise ExtensionError(f"{self._place(point)}: is no {self.kind.__module__}.{self.kind.__name__}; see docs/extending.md")
        wanted: T = found
        return wanted

    def _place(self, point: EntryPoint) -> str:
        return f"package {package_of(point)}, entry point {self.group}: {point.name} = {point.value}"


class Part(Mapping[str, P], Generic[T, P]):
    """A part of each thing of a registry, by name; a package is imported only where its part is asked for."""

    def __init__(self, registry: Mapping[str, T], part: Callable[[T], P]) -> None:
        self._registry, self._part = registry, part

    def __getitem__(self, name: str) -> P:
        return self._part(self._registry[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry)

    def __len__(self) -> int:
        return len(self._registry)

    def __contains__(self, name: object) -> bool:
        return name in self._registry


def package_of(point: EntryPoint) -> str:
    """The name of the package that has an entry point."""
    return point.dist.name if point.dist is not None else "unknown"


def _same(one: EntryPoint, other: EntryPoint) -> bool:
    return (one.value, package_of(one)) == (other.value, package_of(other))
