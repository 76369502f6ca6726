"""Git repositories as ADD names them."""

import pytest

from ocimagic.dockerfile.gitref import GitRef
from ocimagic.dockerfile.values import is_git
from ocimagic.errors import BadInput

H = "https://h/x.git"

GOOD = [
    (H, {"remote": H}),
    (f"{H}#main", {"remote": H, "ref": "main"}),
    (f"{H}#a/b:sub/dir", {"ref": "a/b", "directory": "sub/dir"}),
    (f"{H}#:sub", {"ref": "", "directory": "sub"}),
    (f"{H}#v1:", {"ref": "v1", "directory": ""}),
    (f"{H}#v1:/a/../b/", {"directory": "b"}),
    ("git@h.example:o/x.git#v1:d", {"remote": "git@h.example:o/x.git", "ref": "v1"}),
    ("ssh://git@h:22/x", {"remote": "ssh://git@h:22/x"}),
    ("git://h/x#b", {"remote": "git://h/x", "ref": "b"}),
    (f"{H}?branch=b", {"remote": H, "ref": "refs/heads/b"}),
    (f"{H}?tag=refs/tags/t", {"ref": "refs/tags/t"}),
    (f"{H}?ref=r&subdir=d&keep-git-dir", {"ref": "r", "directory": "d", "keep_git_dir": True}),
    (f"{H}?submodules=0&keep-git-dir=false", {"submodules": False, "keep_git_dir": False}),
    (f"{H}?checksum={'a' * 40}", {"ref": "a" * 40, "checksum": "a" * 40}),
    (f"{H}?branch=b&commit=abc", {"ref": "refs/heads/b", "checksum": "abc"}),
    (f"{H}?subdir=d#v1", {"ref": "v1", "directory": "d"}),
]


@pytest.mark.parametrize(("text", "expected"), GOOD, ids=[each[0] for each in GOOD])
def test_parsed(text, expected):
    assert is_git(text)
    found = GitRef.parse(text)
    assert {name: getattr(found, name) for name in expected} == expected


BAD = [
    (f"{H}#-x", "no branch"),
    (f"{H}#--upload-pack=x", "no branch"),
    (f"{H}#+main", "no branch"),
    (f"{H}#a..b", "no branch"),
    (f"{H}#a b", "no branch"),
    (f"{H}#a^b", "no branch"),
    (f"{H}#a*", "no branch"),
    (f"{H}#a\nb", "no branch"),
    (f"{H}#/a", "no branch"),
    (f"{H}?ref=-x", "no branch"),
    (f"{H}#v1:../x", "outside"),
    (f"{H}#v1:a/../../x", "outside"),
    (f"{H}#v1:.git", "cannot be copied"),
    (f"{H}#v1:a/.GIT/x", "cannot be copied"),
    (f"{H}?nope=1", 'unexpected query "nope"'),
    (f"{H}?branch=", 'query "branch" has no value'),
    (f"{H}?branch=a&branch=b", "several values"),
    (f"{H}?branch=a&tag=b", "branch conflicts with tag"),
    (f"{H}?branch=a#b", "ref conflicts"),
    (f"{H}?subdir=a#b:c", "subdir conflicts"),
    (f"{H}?checksum=xyz", "invalid checksum"),
    (f"{H}?checksum=abc&commit=abd", "checksum conflicts"),
    (f"{H}?submodules=maybe", "invalid submodules value"),
    ("https:///x.git", "no address"),
    ("https://-h/x.git", "no address"),
    ("https://h:x/x.git", "no address"),
    ("https://[::1/x.git", "no address"),
    ("https://h/x\ty.git", "no address"),
    ("ssh://-oProxyCommand=x/x", "no address"),
    ("ssh://h/-x", "no address"),
    ("-o@h:x", "no address"),
    ("git@-h:x", "no address"),
    ("git@h:-x", "no address"),
    ("git@h:", "no address"),
    ("ext://sh/x", "no address"),
    ("file:///x.git", "no address"),
]


@pytest.mark.parametrize(("text", "what"), BAD, ids=[each[0] for each in BAD])
def test_refused(text, what):
    with pytest.raises(BadInput, match=what):
        GitRef.parse(text)
