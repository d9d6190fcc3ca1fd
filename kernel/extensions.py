"""What other installed packages add to the project, by Python entry points (docs/extending.md).

A registry is a mapping written out in one place, with what is built in; what an installed package names under the entry-point group
`encoder_foundry.GROUP` comes into it under the entry point's name. Names are read from the packages' metadata; a package is
imported only when what it adds is wanted.
"""

from __future__ import annotations

import dataclasses
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

    `kind` is what an entry point must be: an instance of it where it is a dataclass, else a class below it. `taken`: names that none may
    have, besides the built-in ones; `reserved`: says why no other thing may have a name, if none may. An entry point that cannot be had
    disturbs nothing until its name is looked up, which raises `ExtensionError`: where the name is refused, where a package cannot be
    imported, and where what it names is of another kind. What is built in is there all the same; `check` a name that a recipe has.
    Iteration leaves out names that only refused entry points have.
    """

    def __init__(
        self,
        group: str,
        kind: type,
        built_in: Mapping[str, T],
        taken: Collection[str] = (),
        reserved: Callable[[str], str | None] = lambda name: None,
    ) -> None:
        self.group, self.kind, self.built_in = PREFIX + group, kind, built_in
        self._taken, self._reserved = taken, reserved
        self._points: tuple[dict[str, EntryPoint], dict[str, str]] | None = None
        self._loaded: dict[str, T] = {}

    @property
    def added(self) -> dict[str, EntryPoint]:
        """The entry points of installed packages by name, sorted, without those that are refused; nothing is imported."""
        return self._found()[0]

    @property
    def refused(self) -> dict[str, str]:
        """Names that packages add and must not, and why, in a line."""
        return self._found()[1]

    def _found(self) -> tuple[dict[str, EntryPoint], dict[str, str]]:
        if self._points is None:
            found: dict[str, EntryPoint] = {}
            refused: dict[str, str] = {}
            for point in sorted(entry_points(group=self.group), key=lambda point: (point.name, package_of(point), point.value)):
                why = self._reserved(point.name)
                if point.name in self.built_in or point.name in self._taken:
                    refused[point.name] = f"{self._place(point)}: the name is built in; rename the entry point, or uninstall the package"
                elif why is not None:
                    refused[point.name] = f"{self._place(point)}: {why}; rename the entry point, or uninstall the package"
                elif point.name in found and not _same(point, found[point.name]):  # else one distribution, found twice on the path
                    other = package_of(found[point.name])
                    refused[point.name] = f"{self._place(point)}: package {other} adds this name too; uninstall one of them"
                else:
                    found[point.name] = point
            self._points = {name: point for name, point in found.items() if name not in refused}, refused
        return self._points

    def check(self, name: str) -> None:
        """Raises `ExtensionError` where packages add a name that they must not; what a recipe means by it is not clear then."""
        if name in self.refused:
            raise ExtensionError(self.refused[name])

    def __getitem__(self, name: str) -> T:
        if name in self.built_in:
            return self.built_in[name]
        self.check(name)
        if name not in self._loaded:
            self._loaded[name] = self._load(self.added[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.built_in, *self.added))

    def __len__(self) -> int:
        return len(self.built_in) + len(self.added)

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in self.added or name in self.refused  # a mapping's own would import it

    def _load(self, point: EntryPoint) -> T:
        try:
            found = point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a package that is imported may raise whatever it likes, and may try to exit
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise ExtensionError(f"{self._place(point)}: cannot be imported ({why}); mend the package, or uninstall it") from error
        a_class, name = isinstance(found, type), f"{self.kind.__module__}.{self.kind.__name__}"
        if dataclasses.is_dataclass(self.kind):
            right, wanted = not a_class and isinstance(found, self.kind), f"an instance of {name}"
        else:
            right, wanted = a_class and issubclass(found, self.kind), f"a class below {name}"
        if not right:
            known = found if a_class else type(found)
            is_now = f"{'the class' if a_class else 'an instance of'} {known.__module__}.{known.__qualname__}"
            raise ExtensionError(f"{self._place(point)}: must be {wanted}, not {is_now}; see docs/extending.md")
        thing: T = found
        return thing

    def _place(self, point: EntryPoint) -> str:
        return f"package {package_of(point)}, entry point {self.group}: {point.name} = {point.value}"


class Part(Mapping[str, P], Generic[T, P]):
    """A part of each thing of a registry, by checked name; a package is imported only where its part is asked for."""

    def __init__(self, registry: Mapping[str, T], part: Callable[[T], P]) -> None:
        self._registry, self._part = registry, part

    def __getitem__(self, name: str) -> P:
        if isinstance(self._registry, Registry):
            self._registry.check(name)
        return self._part(self._registry[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry)

    def __len__(self) -> int:
        return len(self._registry)

    def __contains__(self, name: object) -> bool:
        return name in self._registry


def loadable(things: Mapping[str, P]) -> Iterator[tuple[str, P]]:
    """Those of a registry, or of parts of one, that can be had; a package that cannot be loaded is left out."""
    for name in things:
        try:
            thing = things[name]
        except ExtensionError:
            continue
        yield name, thing


def package_of(point: EntryPoint) -> str:
    """The name of the package that has an entry point."""
    return point.dist.name if point.dist is not None else "unknown"


def _same(one: EntryPoint, other: EntryPoint) -> bool:
    return (one.value, package_of(one)) == (other.value, package_of(other))
