"""Our fast records do what dataclasses do."""

import copy
import dataclasses
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ocimagic.spec import record

ROOT = Path(__file__).parents[2]

# The same source, once with each module.
SOURCE = textwrap.dedent(
    """
    from __future__ import annotations
    from functools import cached_property

    @dataclass(frozen=True, slots=True)
    class Point:
        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list, compare=False)

        def sum(self) -> int:
            return self.x + self.y

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Named:
        name: str
        secret: str = field(default="s", repr=False)

    @dataclass(slots=True)
    class Open:
        a: int
        b: int = 0
        c: int = field(default=7, init=False)
        late: int = field(init=False, repr=False, compare=False)

    @dataclass(slots=True)
    class Wider(Open):
        d: str = "d"
        e: str = field(kw_only=True)

    @dataclass(frozen=True, slots=True, eq=False)
    class Label:
        name: str = ""

    class Plain:
        __slots__ = ()

        def hello(self) -> str:
            return "hello"

    @dataclass(frozen=True)
    class Loose(Plain):
        x: int = 1

        @cached_property
        def twice(self) -> int:
            return 2 * self.x

    @dataclass(frozen=True, slots=True)
    class Checked:
        x: int

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError(self.x)

    @dataclass(frozen=True, slots=True)
    class Keyed:
        x: int
        more: dict[str, int] = field(default_factory=dict, hash=False)
    """
)


def classes(module):
    space = {"dataclass": module.dataclass, "field": module.field}
    exec(SOURCE, space)
    return space


def much_used():
    """Our classes, so many made of each that they have an ``__init__`` of their own."""
    made = classes(record)
    for _ in range(20):
        made["Point"](1)
        made["Named"](name="a")
        made["Open"](1)
        made["Wider"](1, e="")
        made["Label"]()
        made["Loose"]()
        made["Checked"](1)
        made["Keyed"](1)
    return made


@pytest.fixture(params=["dataclasses", "record", "much used record"])
def made(request):
    match request.param:
        case "dataclasses":
            return classes(dataclasses)
        case "record":
            return classes(record)
        case _:
            return much_used()


def test_values_and_defaults(made):
    point = made["Point"](1)
    assert (point.x, point.y, point.tags, point.sum()) == (1, 2, [], 3)
    assert made["Point"](1, y=5).y == 5
    assert made["Point"](1).tags is not made["Point"](1).tags
    assert made["Loose"]().hello() == "hello"
    assert made["Loose"](3).twice == 6
    wide = made["Wider"](1, 2, "x", e="y")
    assert (wide.a, wide.b, wide.c, wide.d, wide.e) == (1, 2, 7, "x", "y")


@pytest.mark.parametrize(
    ("name", "values", "given"),
    [
        ("Point", (), {}),
        ("Point", (1, 2, [], 4), {}),
        ("Point", (1,), {"x": 1}),
        ("Point", (1,), {"z": 1}),
        ("Named", ("a",), {}),
        ("Open", (1, 2, 3), {}),
        ("Open", (1,), {"c": 3}),
        ("Wider", (1,), {}),
    ],
)
def test_wrong_calls(made, name, values, given):
    with pytest.raises(TypeError):
        made[name](*values, **given)


def test_equality_and_hash(made):
    point, label, one = made["Point"], made["Label"], made["Open"](1)
    assert point(1, tags=["a"]) == point(1, tags=["b"])
    assert hash(point(1, 2)) == hash(point(1))
    assert point(1) != point(2)
    assert point(1) != (1, 2)
    assert label("a") != label("a")
    assert len({label("a"), label("a")}) == 2
    assert one == made["Open"](1)
    assert made["Wider"](1, e="") != one
    with pytest.raises(TypeError):
        hash(one)


def test_frozen_and_slots(made):
    with pytest.raises(dataclasses.FrozenInstanceError):
        made["Point"](1).x = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del made["Loose"]().x
    one = made["Open"](1)
    one.a = one.late = 5
    assert (one.a, one.late) == (5, 5)
    with pytest.raises(AttributeError):
        one.nothing = 1
    assert not hasattr(made["Point"](1), "__dict__")
    assert made["Wider"].__slots__ == ("d", "e")


def test_what_is_checked_after_each_field_has_its_value(made):
    assert made["Checked"](1).x == 1
    with pytest.raises(ValueError, match="-1"):
        made["Checked"](-1)


def test_a_field_left_out_of_the_hash_is_compared(made):
    keyed = made["Keyed"]
    assert hash(keyed(1, {"a": 1})) == hash(keyed(1))
    assert keyed(1, {"a": 1}) != keyed(1)
    assert keyed(1).more is not keyed(1).more


def test_only_what_is_much_used_gets_a_method_of_its_own():
    first, then = classes(record), much_used()
    assert first["Point"].__init__ is first["Named"].__init__
    assert then["Point"].__init__ is not then["Named"].__init__


def test_text_and_match(made):
    assert repr(made["Point"](1)) == "Point(x=1, y=2, tags=[])"
    assert repr(made["Named"](name="a")) == "Named(name='a')"
    match made["Point"](1, 5):
        case made_point if type(made_point).__match_args__ == ("x", "y", "tags"):
            pass
        case _:
            pytest.fail("no match")


def test_the_standard_module_can_handle_both(made):
    point = made["Point"](1)
    assert dataclasses.replace(point, y=9) == made["Point"](1, 9)
    assert [each.name for each in dataclasses.fields(point)] == ["x", "y", "tags"]
    assert dataclasses.is_dataclass(point)
    assert dataclasses.asdict(point) == {"x": 1, "y": 2, "tags": []}


def test_copies(made):
    for each in (made["Point"](1, tags=["a"]), made["Open"](1), made["Loose"](3)):
        twin = copy.deepcopy(each)
        assert twin == each
        assert twin is not each
    assert copy.deepcopy(made["Point"](1, tags=["a"])).tags == ["a"]


def test_ours_can_handle_its_own():
    point = classes(record)["Point"](1)
    assert record.is_dataclass(point)
    assert record.is_dataclass(type(point))
    assert not record.is_dataclass(1)
    assert record.replace(point, y=9) == type(point)(1, 9)
    assert [each.name for each in record.fields(point)] == ["x", "y", "tags"]


def test_the_command_line_loads_neither_dataclasses_nor_inspect():
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; import ocimagic.runtime.cli.making"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{code}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"dataclasses", "inspect", "subprocess", "hashlib", "asyncio", "shutil", "difflib"}
    assert not heavy & set(done.stdout.split())
