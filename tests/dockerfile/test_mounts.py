"""RUN --mount."""

from __future__ import annotations

from dataclasses import fields

import pytest

from ocimagic.dockerfile.mounts import RunMount, parse_mount
from ocimagic.dockerfile.source import SourceRange
from ocimagic.errors import DockerfileError

WHERE = SourceRange(start_line=3, end_line=3, text="RUN --mount=... x", logical="RUN x")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("target=/x", {"type": "bind", "target": "/x", "readonly": True}),
        ("type=bind,dst=x,rw,src=a", {"type": "bind", "target": "x", "source": "a"}),
        ("TYPE=Cache,Target=/x", {"type": "cache", "target": "/x"}),
        (
            "type=cache,target=/x,id=i,sharing=locked,mode=0700,uid=1,gid=2,ro,from=s,source=/y",
            {
                "type": "cache",
                "target": "/x",
                "id": "i",
                "sharing": "locked",
                "mode": 0o700,
                "uid": 1,
                "gid": 2,
                "readonly": True,
                "from_stage": "s",
                "source": "/y",
            },
        ),
        (
            "type=tmpfs,target=/x,size=1.5m",
            {"type": "tmpfs", "target": "/x", "size_bytes": 3 << 19},
        ),
        (
            "type=secret,id=k,required,env=K",
            {"type": "secret", "id": "k", "required": True, "env": "K"},
        ),
        (
            "type=secret,target=/run/t",
            {"type": "secret", "id": "t", "target": "/run/t"},
        ),
        ("type=ssh", {"type": "ssh"}),
        ('"target=/a,b"', {"type": "bind", "target": "/a,b", "readonly": True}),
        ("target=/x,readonly=false", {"type": "bind", "target": "/x"}),
        ("target=$X,from=s", {"type": "bind", "target": "$X", "from_stage": "s", "readonly": True}),
    ],
)
def test_parse_mount(raw: str, expected: dict[str, object]) -> None:
    found = parse_mount(raw, WHERE)
    assert {"raw": raw, **expected} == {
        each.name: getattr(found, each.name)
        for each in fields(RunMount)
        if getattr(found, each.name) != each.default
    }


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        ("type=cahce,target=/x", 'unsupported mount type "cahce" (did you mean cache?)'),
        ("foo", "invalid field 'foo' must be a key=value pair"),
        ("targt=/x", "unexpected key 'targt' in 'targt=/x' (did you mean target?)"),
        ("from=$X,target=/x", "'from' doesn't support variable expansion, define alias stage"),
        ("target=/x,mode=0700", 'mode not allowed for "bind" type mounts'),
        ("target=/", 'invalid mount target "/"'),
        ("target=/x,bind-propagation=rshared", "unexpected key 'bind-propagation'"),
        ("type=bind", "a bind mount needs a target"),
        ("type=cache,target=/x,sharing=x", 'unsupported sharing value "x"'),
        ("target=/x,sharing=locked", "invalid cache sharing set for bind mount"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=ssh,source=a", "ssh does not support source"),
        ("type=cache,target=/x,uid=a", "invalid value a for uid"),
        ("type=cache,target=/x,mode=9", "invalid value 9 for mode"),
        ("type=tmpfs,target=/x,size=x", "invalid value for size: x"),
        ("target=/x,ro=x", "invalid value for readonly: x"),
        ('"target', "failed to parse mount"),
    ],
)
def test_errors(raw: str, what: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_mount(raw, WHERE)
    assert caught.value.what.startswith(what)
    assert caught.value.line == 3


def test_a_variable_waits_for_its_value() -> None:
    early = parse_mount("type=$T,target=/x,uid=$U", WHERE)
    assert early.uid is None
    values = {"$T": "cache", "$U": "7"}
    late = early.expanded(lambda text: values.get(text, text), WHERE)
    assert (late.type, late.uid) == ("cache", 7)
    with pytest.raises(DockerfileError, match="invalid value x for uid"):
        early.expanded(lambda text: {"$T": "cache", "$U": "x"}.get(text, text), WHERE)
