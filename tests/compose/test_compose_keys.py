"""Where a line of a compose file stands, and what may stand there."""

import pytest

from ocimagic.compose import schema
from ocimagic.compose.keys import ITEM, keys_at, path_at, values_at

FILE = """\
services:
  web:
    image: busybox
    ports:
      - target: 80
        published: 8080
    command:
    - sh
    - -c
    depends_on:
      db:
        condition: service_started

  # a comment at the wrong place
  db: {image: busybox}
networks:
  inner:
""".splitlines()


@pytest.mark.parametrize(
    ("number", "indent", "in_list", "path"),
    [
        (0, 0, False, ()),
        (1, 2, False, ("services",)),
        (2, 4, False, ("services", "web")),
        (4, 6, True, ("services", "web", "ports", ITEM)),
        (5, 8, False, ("services", "web", "ports", ITEM)),
        (8, 4, True, ("services", "web", "command", ITEM)),
        (11, 8, False, ("services", "web", "depends_on", "db")),
        (14, 2, False, ("services",)),
        (16, 2, False, ("networks",)),
    ],
)
def test_path(number, indent, in_list, path):
    assert path_at(FILE, number, indent, in_list=in_list) == path


@pytest.fixture
def _schema():
    if not schema.is_there():
        pytest.skip("the compose schema was not fetched")


@pytest.mark.usefixtures("_schema")
def test_keys_and_values_are_the_schemas():
    assert {"services", "networks", "volumes"} <= set(keys_at(()))
    assert {"image", "depends_on", "healthcheck"} <= set(keys_at(("services", "web")))
    assert "target" in keys_at(("services", "web", "ports", ITEM))
    assert keys_at(("services", "web"))["image"], "with what the schema says of it"
    assert "condition" in keys_at(("services", "web", "depends_on", "db"))
    assert "service_healthy" in values_at(("services", "web", "depends_on", "db", "condition"))
    assert values_at(("services", "web", "init")) == ("true", "false")
    assert keys_at(("nonsense", "web")) == {}


def test_without_a_schema_nothing_is_offered(tmp_path):
    assert keys_at((), tmp_path / "none.json") == {}
    assert values_at(("services", "web", "init"), tmp_path / "none.json") == ()
