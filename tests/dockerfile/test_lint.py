"""Build checks."""

from __future__ import annotations

import pytest

from ocimagic.dockerfile.ignore import IgnoreRules
from ocimagic.dockerfile.lint import RULES, CheckOptions, LintWarning, lint
from ocimagic.dockerfile.parse import parse

CASES = [
    ("FROM a AS Build", "StageNameCasing", 1, "Stage name 'Build' should be lowercase"),
    ("FROM a as b", "FromAsCasing", 1, "'as' and 'FROM' keywords' casing do not match"),
    ("FROM a\nRUN x \\\n\n y", "NoEmptyContinuation", 4, "Empty continuation line"),
    (
        "FROM a\nRUN b\nrun c",
        "ConsistentInstructionCasing",
        3,
        "Command 'run' should match the case of the command majority (uppercase)",
    ),
    (
        "from a\nrun b\nRun c",
        "ConsistentInstructionCasing",
        3,
        "Command 'Run' should match the case of the command majority (lowercase)",
    ),
    (
        "FROM a AS x\nFROM b AS x",
        "DuplicateStageName",
        2,
        'Duplicate stage name "x", stage names should be unique',
    ),
    (
        "FROM a AS scratch",
        "ReservedStageName",
        1,
        'Stage name should not use the same name as reserved stage "scratch"',
    ),
    (
        "FROM a\nCMD x y",
        "JSONArgsRecommended",
        2,
        "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
    ),
    (
        "FROM a\nRUN ['x', 'y']",
        "SingleQuotedJSON",
        2,
        (
            "RUN [...] is not JSON, so a shell gets the brackets, too: "
            'use double quotes, ["like", "this"]'
        ),
    ),
    (
        "FROM a\nMAINTAINER x",
        "MaintainerDeprecated",
        2,
        "Maintainer instruction is deprecated in favor of using label",
    ),
    ("FROM a$V", "UndefinedArgInFrom", 1, "FROM argument 'V' is not declared"),
    (
        "ARG VERSION=1\nFROM a$VERSOIN",
        "UndefinedArgInFrom",
        2,
        "FROM argument 'VERSOIN' is not declared (did you mean VERSION?)",
    ),
    (
        "FROM a\nWORKDIR x",
        "WorkdirRelativePath",
        2,
        'Relative workdir "x" can have unexpected results if the base image changes',
    ),
    ("FROM scratch\nENV A=$XYZ", "UndefinedVar", 2, "Usage of undefined variable '$XYZ'"),
    (
        "FROM a\nENV APP_HOME=/a\nWORKDIR $APP_HOMR",
        "UndefinedVar",
        3,
        "Usage of undefined variable '$APP_HOMR' (did you mean $APP_HOME?)",
    ),
    (
        "ARG V=1\nFROM a\nENV B=$V",
        "UndefinedVar",
        3,
        "Usage of undefined variable '$V' (write ARG V after FROM to see its value)",
    ),
    (
        'FROM a\nCMD ["x"]\nCMD ["y"]',
        "MultipleInstructionsDisallowed",
        2,
        (
            "Multiple CMD instructions should not be used in the same stage because only the last "
            "one will be used"
        ),
    ),
    (
        "FROM a\nENV b c",
        "LegacyKeyValueFormat",
        2,
        '"ENV key=value" should be used instead of legacy "ENV key value" format',
    ),
    (
        "FROM a\nARG API_KEY",
        "SecretsUsedInArgOrEnv",
        2,
        'Do not use ARG or ENV instructions for sensitive data (ARG "API_KEY")',
    ),
    (
        "FROM a\nENV PATH=$PAHT:/x",
        "UndefinedVar",
        2,
        "Usage of undefined variable '$PAHT' (did you mean $PATH?)",
    ),
    ("FROM a\nCOPY $f /\nARG f", "UndefinedVar", 2, "Usage of undefined variable '$f'"),
    (
        "FROM --platform=$TARGETPLATFORM a",
        "RedundantTargetPlatform",
        1,
        (
            "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the "
            "default behavior"
        ),
    ),
    (
        "FROM --platform=linux/arm64 a",
        "FromPlatformFlagConstDisallowed",
        1,
        'FROM --platform flag should not use constant value "linux/arm64"',
    ),
    (
        "ARG V\nFROM a:$V",
        "InvalidDefaultArgInFrom",
        2,
        "Default value for ARG a:$V results in empty or invalid base image name",
    ),
    (
        "FROM a\nARG P=80/TCP\nEXPOSE $P",
        "ExposeProtoCasing",
        3,
        "Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
    ),
    (
        "FROM a\nEXPOSE 127.0.0.1:80:80",
        "ExposeInvalidFormat",
        2,
        (
            "EXPOSE instruction should not define an IP address or host-port mapping, "
            "found '127.0.0.1:80:80'"
        ),
    ),
    (
        "# check=skip=all;experimental=InvalidDefinitionDescription\n# the base\nFROM a AS b",
        "InvalidDefinitionDescription",
        3,
        "Comment for FROM should follow the format: `# b <description>`",
    ),
    (
        "# check=experimental=all\nFROM a\n# two of them\nARG b=1 c",
        "InvalidDefinitionDescription",
        4,
        "Comment for ARG should follow the format: `# <arg_key> <description>`",
    ),
    (
        "# syntax=x/y\nFROM a",
        "UnsupportedSyntax",
        1,
        "Front end x/y is not used: ours reads the file",
    ),
]


@pytest.mark.parametrize(("text", "rule", "line", "message"), CASES)
def test_warnings(text: str, rule: str, line: int, message: str) -> None:
    assert (LintWarning(rule=rule, line=line, message=message),) == lint(parse(text))


def test_every_rule_has_a_case() -> None:
    assert set(RULES) == {rule for _, rule, _, _ in CASES}


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=docker/dockerfile:1\nFROM a AS b",
        "from a as b\nrun c",
        'FROM a\nSHELL ["bash", "-c"]\nCMD x',
        'FROM a AS x\nSHELL ["bash", "-c"]\nFROM x\nCMD y',
        "FROM a\nRUN [ 'a' = 'a' ] && b",
        "FROM a\nWORKDIR /x\nWORKDIR y",
        "FROM a AS x\nWORKDIR /x\nFROM x\nWORKDIR y",
        "FROM a\nWORKDIR $HOME",
        "FROM a\nENV A=$PATH:/x B=$FROM_THE_BASE",
        "FROM a\nARG A\nENV B=$A",
        "FROM a AS x\nENV APP=1\nFROM x\nENV B=$APP",
        "FROM a\nENV PUBLIC_KEY=x KEY_FILE=y MONKEY=z",
        'FROM a AS x\nCMD ["y"]\nFROM x\nCMD ["z"]',
        "ARG A\nFROM a:${A:-1}",
        "FROM a:$TARGETARCH",
        "FROM a\nENV A=${B:?c} C=$A",
        "FROM --platform=$BUILDPLATFORM a",
        "FROM --platform=linux/arm64 a AS for-arm64",
        "FROM --platform=linux/${ARCH:-arm64} a",
        "FROM --platform=/ a",
        "ARG V=1\nFROM a:$V",
        "ARG V=${V:?}\nFROM a",
        "FROM a${V:?}",
        "FROM a\nEXPOSE 80/tcp 81-82 ${P:?no}",
        "FROM a\n# the base\nARG b",
        "# check=experimental=all\n# b is the base\nFROM a AS b\n# so what\n#\nARG c",
    ],
)
def test_no_warnings(text: str) -> None:
    assert lint(parse(text)) == ()


def test_skips() -> None:
    text = "FROM a AS B\nENV c d\n"
    assert len(lint(parse(text))) == 2
    assert lint(parse("# check=skip=all\n" + text)) == ()
    assert [
        each.rule for each in lint(parse("# check=skip=stagenamecasing;error=true\n" + text))
    ] == ["LegacyKeyValueFormat"]
    assert lint(parse("FROM a\n# check=skip=LegacyKeyValueFormat\nENV b c")) == ()


def test_options() -> None:
    found = CheckOptions.parse("skip=A, B;error=TRUE;experimental=all")
    skip, experimental = frozenset({"a", "b"}), frozenset({"all"})
    assert CheckOptions(skip=skip, experimental=experimental, error=True) == found


def test_options_from_outside_take_the_place_of_the_file_s() -> None:
    file = parse("# check=skip=all\nFROM a AS B\nENV c d\n")
    found = lint(file, options=CheckOptions.parse("skip=StageNameCasing"))
    assert [each.rule for each in found] == ["LegacyKeyValueFormat"]


def test_copies_of_what_is_ignored() -> None:
    text = (
        "FROM a AS x\nARG D=doc\nCOPY ./a.log b.txt /\nADD $D/x https://h/a.log /\n"
        "COPY --from=x a.log /\nCOPY <<a.log /\nEOF\na.log\nCOPY ${V:?} /\n"
    )
    ignore = IgnoreRules.parse("*.log\ndoc\n")
    found = [(each.line, each.message) for each in lint(parse(text), ignore=ignore)]
    assert found == [
        (3, 'Attempting to Copy file "./a.log" that is excluded by .dockerignore'),
        (4, 'Attempting to Add file "doc/x" that is excluded by .dockerignore'),
    ]
    assert lint(parse(text), ignore=IgnoreRules.parse("*.log\n!keep.log\n")) == ()


@pytest.mark.parametrize(
    ("rule", "url"),
    [
        ("JSONArgsRecommended", "json-args-recommended"),
        ("SecretsUsedInArgOrEnv", "secrets-used-in-arg-or-env"),
        ("FromAsCasing", "from-as-casing"),
    ],
)
def test_urls(rule: str, url: str) -> None:
    found = LintWarning(rule=rule, message="", line=1).url
    assert f"https://docs.docker.com/go/dockerfile/rule/{url}/" == found
    assert LintWarning(rule="SingleQuotedJSON", message="", line=1).url == ""
