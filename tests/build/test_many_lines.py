"""Dockerfiles of very many lines: time and room grow with them, not with their square."""

import time

import pytest
from conftest import make_base, need_containers

from ocimagic.engine.commit import with_changes
from ocimagic.errors import StepFailed
from ocimagic.spec.config import ContainerConfig
from ocimagic.spec.platform import Platform

MANY = 8000


def stored_bytes(place):
    root = place.engine.home.data
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("word", ["ENV", "LABEL"])
def test_lines_of_the_config(fresh, word):
    fresh.write("f", "f")
    lines = "".join(f"{word} V{n}=v{n}\n" for n in range(MANY))
    text = f"FROM scratch\nCOPY f /\n{lines}"
    began = time.monotonic()
    first = fresh.build(text)
    again = fresh.build(text)
    assert time.monotonic() - began < 60
    assert all(step.cached for step in again.steps)
    assert again.image_id == first.image_id
    config = fresh.config(first)
    assert len(config.env if word == "ENV" else config.labels) >= MANY
    assert stored_bytes(fresh) < 40 << 20


def test_values_that_are_set_again_keep_their_places(fresh):
    lines = "".join(f"ENV A=a{n} B{n % 7}=b{n}\n" for n in range(1000))
    env = fresh.config(fresh.build(f"FROM scratch\n{lines}")).env
    last = [f"B{n}=b{max(m for m in range(1000) if m % 7 == n)}" for n in range(7)]
    assert env[1:] == ("A=a999", *last)


def test_what_stands_before_a_command_has_an_image(fresh, tmp_path):
    need_containers(fresh.engine)
    make_base(fresh, tmp_path / "base-context")
    lines = "".join(f"ENV V{n}=v{n}\n" for n in range(600))
    with pytest.raises(StepFailed) as caught:
        fresh.build(f"FROM base\n{lines}RUN exit 3\n")
    done = fresh.engine.containers.run(
        caught.value.image_id, ["sh", "-c", "echo $V0 $V599"], remove=True, network="none"
    )
    assert done.stdout == b"v0 v599\n"
    result = fresh.build(f"FROM base\n{lines}RUN echo $V599 > /f\n")
    assert [step.image_id is None for step in result.steps].count(True) > 300
    assert result.steps[-2].image_id == caught.value.image_id


@pytest.mark.parametrize("env", [("A=1", "B=2", "A=3"), ("A", "B=2"), ("B=2", "A=")])
def test_an_environment_of_somebody_else(env):
    config = ContainerConfig(env=env)
    after = with_changes(config, Platform(), ["ENV A=x C=y"]).env
    wanted = {**config.environment(), "A": "x", "C": "y"}
    assert after == tuple(f"{name}={value}" for name, value in wanted.items())
