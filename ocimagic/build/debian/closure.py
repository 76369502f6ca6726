"""Which packages the smallest system is: what is required, apt, and what those need.

As debootstrap and mmdebstrap have it for their variant "minbase".  Conflicts are not weighed:
what a suite calls required fits together, and dpkg says so where it does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.build.debian.index import Package, PackageIndex
    from ocimagic.build.debian.relation import Clause, Relation

# The root is made with /bin and its like as links; this package says so to the others, which
# else would bring the one that makes them, and perl modules with it.
_WANTED = ("apt", "usr-is-merged")


def minimal(index: PackageIndex, include: Iterable[str] = ()) -> tuple[Package, ...]:
    """Choose the packages of the smallest system, sorted by name.

    Args:
        index: of the suite.
        include: names of more packages.

    Raises:
        InvalidDocument: nothing is essential there, or a dependency cannot be met.
    """
    seeds = list(index.marked())
    if not any(each.is_essential for each in seeds):
        raise InvalidDocument(
            "the suite has no essential packages", hint="is it a whole distribution's?"
        )
    seeds += [found for name in _WANTED if (found := index.find(name))]
    for name in include:
        found = index.find(name)
        if found is None:
            raise InvalidDocument(f"the suite has no package {name}", where="--include")
        seeds.append(found)
    return closure(index, seeds)


def closure(index: PackageIndex, seeds: Iterable[Package]) -> tuple[Package, ...]:
    """Add what the seeds need, and what that needs, sorted by name.

    A dependency with alternatives waits until all others are met: one of them may be there
    by then, whatever the order was.  Else its first one that exists is taken.

    Raises:
        InvalidDocument: a dependency that nothing there meets.
    """
    chosen: dict[str, Package] = {}
    provided: dict[str, list[str]] = {}
    clear: list[tuple[Package, Clause]] = []
    unclear: list[tuple[Package, Clause]] = []

    def take(package: Package) -> None:
        if package.name in chosen:
            return
        chosen[package.name] = package
        for each in package.provides:
            provided.setdefault(each.name, []).append(each.version)
        for clause in package.depends:
            (clear if len(clause) == 1 else unclear).append((package, clause))

    def is_met(clause: Clause) -> bool:
        return any(
            (each.name in chosen and each.is_met_by(chosen[each.name].version))
            or any(each.is_met_by(version) for version in provided.get(each.name, ()))
            for each in clause
        )

    for seed in seeds:
        take(seed)
    while clear or unclear:
        package, clause = clear.pop(0) if clear else unclear.pop(0)
        if not is_met(clause):
            take(_one_of(index, package, clause))
    return tuple(chosen[name] for name in sorted(chosen))


def needed(packages: Iterable[Package], seeds: Iterable[Package]) -> tuple[Package, ...]:
    """Return the seeds and what of ``packages`` they need, sorted by name.

    Of alternatives all that are there are taken: it is not known which one is used.
    """
    by_name = {each.name: each for each in packages}
    answers: dict[str, list[Package]] = {name: [each] for name, each in by_name.items()}
    for package in by_name.values():
        for provided in package.provides:
            answers.setdefault(provided.name, []).append(package)
    found: dict[str, Package] = {}
    waiting = list(seeds)
    while waiting:
        package = waiting.pop()
        if package.name not in found:
            found[package.name] = package
            for clause in package.depends:
                waiting += [each for wanted in clause for each in answers.get(wanted.name, ())]
    return tuple(found[name] for name in sorted(found))


def _one_of(index: PackageIndex, package: Package, clause: Clause) -> Package:
    for wanted in clause:
        found = index.find(wanted.name)
        if found and wanted.is_met_by(found.version):
            return found
        for provider in _providers(index, wanted):
            return provider
    raise InvalidDocument(
        f"{package.name} needs what the suite has not",
        why=" | ".join(map(str, clause)),
        hint="the mirror may be in the middle of an update: try again later, or name another",
    )


def _providers(index: PackageIndex, wanted: Relation) -> list[Package]:
    """Return what answers to a name, the best first: required before optional, as apt has it."""
    order = ("required", "important", "standard", "optional")
    found = [
        package
        for package in index.providers(wanted.name)
        if any(
            each.name == wanted.name and wanted.is_met_by(each.version) for each in package.provides
        )
    ]
    return sorted(
        found,
        key=lambda each: (
            order.index(each.priority) if each.priority in order else len(order),
            each.name,
        ),
    )
