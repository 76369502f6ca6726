"""Classes of values whose methods are shared and look at a table of fields.

What they do is what ``dataclasses`` would have them do, also when ``dataclasses.replace`` or
``dataclasses.fields`` get to see them.  Annotations must be texts (``from __future__ import
annotations``).  A class of which many are made gets an ``__init__`` of its own, compiled as
``dataclasses`` compile theirs: most classes of a program are never used, or once.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Put = Callable[[object, str, object], None]
    Factory = Callable[[], object]


_MANY = 8  # so many are made by the shared method before one is compiled


class _Missing:
    """What a default is where there is none."""


def _no_factory() -> object:
    """Stand for the lack of a factory."""


class Field:
    """One field: what ``dataclasses.Field`` says of it, as far as it is used here."""

    __slots__ = (
        "compare",
        "default",
        "default_factory",
        "hash",
        "init",
        "kw_only",
        "name",
        "repr",
    )

    def __init__(
        self,
        *,
        default: object = _Missing,
        default_factory: Factory = _no_factory,
        init: bool = True,
        repr: bool = True,  # noqa: A002  dataclasses' word
        hash: bool | None = None,  # noqa: A002  dataclasses' word
        compare: bool = True,
        kw_only: bool | None = None,
    ) -> None:
        self.name = ""
        self.default = default
        self.default_factory = default_factory
        self.init = init
        self.repr = repr
        self.hash = compare if hash is None else hash
        self.compare = compare
        self.kw_only = kw_only


field = Field


def dataclass(
    cls: type | None = None,
    /,
    *,
    frozen: bool = False,
    slots: bool = False,
    kw_only: bool = False,
    eq: bool = True,
) -> type | Callable[[type], type]:
    """Make a class of values; as ``dataclasses.dataclass``."""

    def make(cls: type) -> type:
        space = dict(cls.__dict__)
        _list_fields(cls, space, kw_only=kw_only, slots=slots)
        space |= {
            name: method
            for name, method in _methods(frozen=frozen, slots=slots, eq=eq).items()
            if name not in cls.__dict__ or name == "__hash__"
        }
        # Those are of this class, and fit no other.
        for name in ("__dict__", "__weakref__"):
            space.pop(name, None)
        if slots:
            _add_slots(cls, space)
        return type(cls)(cls.__name__, cls.__bases__, space)

    return make if cls is None else make(cls)


def fields(record: object) -> tuple[Field, ...]:
    """Return the fields of a record or its class, in order."""
    return tuple(_known(record).values())


def is_dataclass(kind: object) -> bool:
    """Say whether something is a record or its class; as ``dataclasses.is_dataclass``."""
    return hasattr(kind if isinstance(kind, type) else type(kind), "__record_fields__")


def replace(record: object, /, **changes: object) -> object:
    """Return a record with other values; as ``dataclasses.replace``."""
    kept = {
        name: getattr(record, name)
        for name, each in _known(record).items()
        if each.init and name not in changes
    }
    return type(record)(**kept, **changes)


def _known(record: object) -> dict[str, Field]:
    found: dict[str, Field] = record.__record_fields__  # type: ignore[attr-defined]
    return found


def _list_fields(cls: type, space: dict[str, object], *, kw_only: bool, slots: bool) -> None:
    """Collect the fields, those of the bases first, and take their defaults off the class."""
    known: dict[str, Field] = {}
    for base in reversed(cls.__mro__[1:]):
        known |= base.__dict__.get("__record_fields__", {})
    for name, kind in cls.__annotations__.items():
        if kind.startswith(("ClassVar", "Final")):
            continue
        said = space.get(name, _Missing)
        each = said if isinstance(said, Field) else Field(default=said)
        each.name = name
        each.kw_only = kw_only if each.kw_only is None else each.kw_only
        if each.default is _Missing or slots:
            space.pop(name, None)
        else:
            space[name] = each.default
        known[name] = each
    order = tuple(name for name, each in known.items() if each.init and not each.kw_only)
    space |= {
        "__record_fields__": known,
        "__record_order__": order,
        "__record_values__": _getter(name for name, each in known.items() if each.compare),
        "__record_hashed__": _getter(name for name, each in known.items() if each.hash),
        "__record_made__": 0,
    }
    space.setdefault("__match_args__", order)
    space["__dataclass_fields__"] = _StandardFields()


def _getter(names: Iterable[str]) -> staticmethod[[object], object]:
    wanted = tuple(names)
    return staticmethod(attrgetter(*wanted) if wanted else _nothing)


def _methods(*, frozen: bool, slots: bool, eq: bool) -> dict[str, Callable[..., object] | None]:
    methods: dict[str, Callable[..., object] | None] = {
        "__init__": _init_frozen if frozen else _init,
        "__repr__": _repr,
    }
    if eq:
        methods |= {"__eq__": _eq, "__hash__": _hash if frozen else None}
    if frozen:
        methods |= {"__setattr__": _refuse_change, "__delattr__": _refuse_change}
    if frozen and slots:
        methods |= {"__getstate__": _getstate, "__setstate__": _setstate}
    return methods


def _add_slots(cls: type, space: dict[str, object]) -> None:
    own = cls.__annotations__
    inherited = {name for base in cls.__mro__[1:] for name in base.__dict__.get("__slots__", ())}
    known = space["__record_fields__"]
    assert isinstance(known, dict)
    space["__slots__"] = tuple(name for name in own if name in known and name not in inherited)


# The methods that records share.


def _init(self: object, /, *values: object, **given: object) -> None:
    _fill(self, setattr, values, given)
    _made_one(type(self), _init, "")


def _init_frozen(self: object, /, *values: object, **given: object) -> None:
    _fill(self, object.__setattr__, values, given)
    _made_one(type(self), _init_frozen, "put")


def _made_one(kind: type, shared: Callable[..., None], put: str) -> None:
    """Count; of a class that is much used, compile the method that its objects begin with."""
    owner = next(each for each in kind.__mro__ if "__record_fields__" in each.__dict__)
    made = owner.__record_made__ + 1  # type: ignore[attr-defined]
    owner.__record_made__ = made  # type: ignore[attr-defined]
    if made >= _MANY and owner.__dict__.get("__init__") is shared:
        owner.__init__ = _compiled(owner, put)  # type: ignore[misc]


def _compiled(owner: type, put: str) -> Callable[..., None]:
    """Write the ``__init__`` of a class, and compile it.

    Names of ours end in underscores that no field has; the text has names of fields only.
    """
    space: dict[str, object] = {"put__": object.__setattr__, "made__": _no_factory}
    taken: dict[bool, list[str]] = {False: [], True: []}
    lines: list[str] = []
    for name, each in _known(owner).items():
        value = name
        has_factory = each.default_factory is not _no_factory
        space |= {f"{name}_default__": each.default, f"{name}_factory__": each.default_factory}
        if has_factory:
            value = f"{name}_factory__()"
        elif not each.init:
            value = f"{name}_default__"
        if each.init:
            usual = "made__" if has_factory else f"{name}_default__"
            is_needed = not has_factory and each.default is _Missing
            taken[bool(each.kw_only)].append(name if is_needed else f"{name}={usual}")
            value = f"{value} if {name} is made__ else {name}" if has_factory else value
        elif not has_factory and each.default is _Missing:
            continue
        lines.append(f"put__(self__, {name!r}, {value})" if put else f"self__.{name} = {value}")
    if hasattr(owner, "__post_init__"):
        lines.append("self__.__post_init__()")
    named = ["*", *taken[True]] if taken[True] else []
    head = f"def __init__({', '.join(['self__', '/', *taken[False], *named])}):"
    exec("\n ".join([head, *(lines or ["pass"])]), space)  # noqa: S102  as dataclasses do
    made = space["__init__"]
    assert callable(made)
    return made


def _fill(record: object, put: Put, values: tuple[object, ...], given: dict[str, object]) -> None:
    if values:
        _name_values(record, values, given)
    for name, each in _known(record).items():
        if name in given and each.init:
            put(record, name, given.pop(name))
        elif each.default_factory is not _no_factory:
            put(record, name, each.default_factory())
        elif each.default is not _Missing:
            put(record, name, each.default)
        elif each.init:
            raise TypeError(f"{type(record).__name__} needs a value for {name!r}")
    if given:
        raise TypeError(f"{type(record).__name__} has no field {next(iter(given))!r}")
    if hasattr(record, "__post_init__"):
        record.__post_init__()


def _name_values(record: object, values: tuple[object, ...], given: dict[str, object]) -> None:
    order: tuple[str, ...] = record.__record_order__  # type: ignore[attr-defined]
    if len(values) > len(order):
        raise TypeError(f"{type(record).__name__} takes {len(order)} values in order")
    for name, value in zip(order, values, strict=False):
        if name in given:
            raise TypeError(f"{type(record).__name__} got two values for {name!r}")
        given[name] = value


def _repr(self: object) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _nothing(_record: object) -> tuple[()]:
    return ()


def _eq(self: object, other: object) -> bool:
    values: Callable[[object], object] = self.__record_values__  # type: ignore[attr-defined]
    return values(self) == values(other) if type(other) is type(self) else NotImplemented


def _hash(self: object) -> int:
    return hash(self.__record_hashed__(self))  # type: ignore[attr-defined]


def _getstate(self: object) -> list[object]:
    return [getattr(self, each.name) for each in fields(self)]


def _setstate(self: object, state: list[object]) -> None:
    for each, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


def _refuse_change(_self: object, name: str, *_value: object) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


class _StandardFields:
    """Shows the fields to the standard module, which is loaded only then."""

    def __get__(self, _record: object, owner: type) -> dict[str, object]:
        import dataclasses

        found: dict[str, object] = {}
        for name, each in _known(owner).items():
            factory: object = each.default_factory
            kept = {
                "default": dataclasses.MISSING if each.default is _Missing else each.default,
                "default_factory": dataclasses.MISSING if factory is _no_factory else factory,
                "kw_only": bool(each.kw_only),
            }
            kept |= {key: getattr(each, key) for key in ("init", "repr", "hash", "compare")}
            shown = dataclasses.field(**kept)  # type: ignore[call-overload]
            shown.name = name
            shown._field_type = dataclasses._FIELD  # type: ignore[attr-defined]  # noqa: SLF001  fields() asks
            found[name] = shown
        kind = next(each for each in owner.__mro__ if "__record_fields__" in each.__dict__)
        kind.__dataclass_fields__ = found  # type: ignore[attr-defined]
        return found
