"""Build checks: what is legal in a Dockerfile and probably not meant.

Rules are docker's where they have an address, so that a learner can look them up; the others
are ours.  ``# check=skip=RULE`` at the top of the file, or as a comment right above an
instruction, silences a rule; ``experimental=RULE`` asks for one that is not applied by itself;
``error=true`` asks the builder to refuse.

Source: docker's build checks reference; facts/build.md section 1.5.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from ocimagic.dockerfile import instructions as ins
from ocimagic.dockerfile.ignore import IgnoreRules
from ocimagic.dockerfile.lintfrom import (
    constant_platform,
    invalid_default_base,
    redundant_target_platform,
)
from ocimagic.dockerfile.lintvars import undefined_args_in_from, undefined_variables
from ocimagic.dockerfile.lintwords import (
    definition_description,
    exposed_mapping,
    ignored_copies,
    protocol_casing,
)
from ocimagic.dockerfile.source import quoted
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ocimagic.dockerfile.parse import Dockerfile, Stage
    from ocimagic.dockerfile.source import SourceRange

CHECK_ARG = "BUILDKIT_DOCKERFILE_CHECK"
"""A build argument with what else stands in ``# check=``."""

_OURS = frozenset({"SingleQuotedJSON", "UnsupportedSyntax"})
_EXPERIMENTAL = frozenset({"InvalidDefinitionDescription"})
_OF_THE_WHOLE = frozenset({"ConsistentInstructionCasing"})
_TRUE = frozenset({"1", "t", "true"})
_RESERVED = frozenset({"scratch", "context"})
_KEBAB = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)",
    re.IGNORECASE,
)
_NO_SECRET = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)
_SINGLE_QUOTED_JSON = re.compile(r"\[\s*'.*'\s*\]", re.DOTALL)
_KNOWN_SYNTAX = re.compile(r"(docker\.io/)?docker/dockerfile(-upstream)?([:@].*)?")

Found = tuple["SourceRange | int", str]
"""What a rule finds: where, and the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LintWarning:
    """One thing to look at.

    Args:
        rule: docker's name of the rule.
        message: docker's words for it.
        line: 1-based line it is about.
    """

    rule: str
    message: str
    line: int

    @property
    def url(self) -> str:
        """Where docker explains the rule; "" for a rule of ours."""
        if self.rule in _OURS:
            return ""
        return f"https://docs.docker.com/go/dockerfile/rule/{_KEBAB.sub('-', self.rule).lower()}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """The value of ``# check=``.

    Args:
        skip: rules not to apply, in lower case; "all" is all of them.
        experimental: rules of docker's experimental ones to apply, skipped or not; or "all".
        error: warnings fail the build.
    """

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    @classmethod
    def parse(cls, text: str) -> CheckOptions:
        """Read such as ``skip=StageNameCasing,FromAsCasing;error=true``; unknown keys pass."""
        options = dict(part.partition("=")[::2] for part in text.lower().split(";"))
        skip, experimental = (
            frozenset(each.strip() for each in options.get(key, "").split(",")) - {""}
            for key in ("skip", "experimental")
        )
        error = options.get("error", "").strip() in _TRUE
        return cls(skip=skip, experimental=experimental, error=error)

    def skips(self, rule: str) -> bool:
        """Tell whether a rule is silenced, or has to be asked for and is not."""
        if rule in _EXPERIMENTAL:
            return not {"all", rule.lower()} & self.experimental
        return bool({"all", rule.lower()} & self.skip)


def lint(
    dockerfile: Dockerfile,
    *,
    options: CheckOptions | None = None,
    ignore: IgnoreRules | None = None,
    is_whole: bool = True,
) -> tuple[LintWarning, ...]:
    """Check a Dockerfile, all its stages, and return the warnings from top to bottom.

    Args:
        dockerfile: what to check.
        options: in place of those that it has itself.
        ignore: the rules of the build context's .dockerignore.
        is_whole: False for what is above a mistake: no rule is applied then that counts lines.
    """
    options = options or CheckOptions.parse(dockerfile.directives.check)
    warnings: list[LintWarning] = []
    rules = dict(RULES)
    rules["CopyIgnoredFile"] = partial(ignored_copies, rules=ignore or IgnoreRules())
    for rule, check in rules.items():
        if options.skips(rule) or (rule in _OF_THE_WHOLE and not is_whole):
            continue
        for where, message in check(dockerfile):
            if isinstance(where, int):
                warnings.append(LintWarning(rule=rule, message=message, line=where))
            elif not _skipped_above(rule, where):
                warnings.append(LintWarning(rule=rule, message=message, line=where.start_line))
    return tuple(sorted(warnings, key=lambda warning: warning.line))


def _skipped_above(rule: str, where: SourceRange) -> bool:
    checks = (each.partition("=") for each in where.comments)
    return any(
        {"all", rule.lower()} & CheckOptions.parse(value).skip
        for key, _, value in checks
        if key.strip().lower() == "check"
    )


def _stage_name_casing(dockerfile: Dockerfile) -> Iterator[Found]:
    for stage in dockerfile.stages:
        written = _words(stage)[-1]
        if stage.name and written != stage.name:
            yield stage.start.source, f"Stage name '{written}' should be lowercase"


def _from_as_casing(dockerfile: Dockerfile) -> Iterator[Found]:
    for stage in dockerfile.stages:
        if not stage.name:
            continue
        first, *_, as_word, _ = _words(stage)
        if first.isupper() != as_word.isupper():
            yield stage.start.source, f"'{as_word}' and '{first}' keywords' casing do not match"


def _empty_continuation(dockerfile: Dockerfile) -> Iterator[Found]:
    for line in dockerfile.empty_continuations:
        yield line, "Empty continuation line"


def _instruction_casing(dockerfile: Dockerfile) -> Iterator[Found]:
    written = [(each.source, each.source.logical.split()[0]) for each in _all(dockerfile)]
    lower = sum(word.islower() for _, word in written)
    upper = sum(word.isupper() for _, word in written)
    wanted, fits = ("lowercase", str.islower) if lower > upper else ("uppercase", str.isupper)
    for source, word in written:
        if not fits(word):
            message = f"Command '{word}' should match the case of the command majority ({wanted})"
            yield source, message


def _duplicate_stage_name(dockerfile: Dockerfile) -> Iterator[Found]:
    seen: set[str] = set()
    for stage in dockerfile.stages:
        if stage.name in seen:
            message = f"Duplicate stage name {quoted(stage.name)}, stage names should be unique"
            yield stage.start.source, message
        if stage.name:
            seen.add(stage.name)


def _reserved_stage_name(dockerfile: Dockerfile) -> Iterator[Found]:
    for stage in dockerfile.stages:
        if stage.name in _RESERVED:
            message = (
                f"Stage name should not use the same name as reserved stage {quoted(stage.name)}"
            )
            yield stage.start.source, message


def _json_args_recommended(dockerfile: Dockerfile) -> Iterator[Found]:
    for stage in dockerfile.stages:
        shell_set = any(isinstance(each, ins.Shell) for each in _inherited(dockerfile, stage))
        for each in stage.instructions:
            shell_set = shell_set or isinstance(each, ins.Shell)
            if not isinstance(each, (ins.Cmd, ins.Entrypoint)) or shell_set:
                continue
            if isinstance(each.command, ins.ShellForm):
                message = (
                    f"JSON arguments recommended for {each.keyword} to prevent unintended "
                    "behavior related to OS signals"
                )
                yield each.source, message


def _single_quoted_json(dockerfile: Dockerfile) -> Iterator[Found]:
    for each in _all(dockerfile):
        if isinstance(each, (ins.Run, ins.Cmd, ins.Entrypoint)):
            command = each.command
            if isinstance(command, ins.ShellForm) and _SINGLE_QUOTED_JSON.fullmatch(command.text):
                message = (
                    f"{each.keyword} [...] is not JSON, so a shell gets the brackets, too: "
                    'use double quotes, ["like", "this"]'
                )
                yield each.source, message


def _maintainer_deprecated(dockerfile: Dockerfile) -> Iterator[Found]:
    for each in _all(dockerfile):
        if isinstance(each, ins.Maintainer):
            yield each.source, "Maintainer instruction is deprecated in favor of using label"


def _workdir_relative(dockerfile: Dockerfile) -> Iterator[Found]:
    for stage in dockerfile.stages:
        inherited = _inherited(dockerfile, stage)
        anchored = any(isinstance(each, ins.Workdir) for each in inherited)
        for each in stage.instructions:
            if not isinstance(each, ins.Workdir) or anchored:
                continue
            # A variable's value may well start with a slash.
            anchored = each.path.lstrip("\"'").startswith(("/", "$"))
            if not anchored:
                message = (
                    f"Relative workdir {quoted(each.path)} can have unexpected results "
                    "if the base image changes"
                )
                yield each.source, message


def _multiple_instructions(dockerfile: Dockerfile) -> Iterator[Found]:
    for stage in dockerfile.stages:
        for kind in (ins.Cmd, ins.Entrypoint, ins.Healthcheck):
            found = [each for each in stage.instructions if isinstance(each, kind)]
            for each in found[:-1]:
                message = (
                    f"Multiple {kind.keyword} instructions should not be used in the same stage "
                    "because only the last one will be used"
                )
                yield each.source, message


def _legacy_key_value(dockerfile: Dockerfile) -> Iterator[Found]:
    for each in _all(dockerfile):
        if isinstance(each, (ins.Env, ins.Label)) and each.legacy:
            key = each.keyword
            message = f'"{key} key=value" should be used instead of legacy "{key} key value" format'
            yield each.source, message


def names_secret(name: str) -> bool:
    """Say whether a variable sounds as if its value were nobody else's business."""
    return bool(_SECRET.search(name)) and not _NO_SECRET.search(name)


def _secrets(dockerfile: Dockerfile) -> Iterator[Found]:
    for each in _all(dockerfile):
        names: tuple[str, ...] = ()
        if isinstance(each, ins.Arg):
            names = tuple(declared.name for declared in each.args)
        elif isinstance(each, ins.Env):
            names = tuple(pair.key for pair in each.pairs)
        for name in names:
            if names_secret(name):
                message = (
                    "Do not use ARG or ENV instructions for sensitive data "
                    f"({each.keyword} {quoted(name)})"
                )
                yield each.source, message


def _unsupported_syntax(dockerfile: Dockerfile) -> Iterator[Found]:
    syntax = dockerfile.directives.syntax
    if syntax and not _KNOWN_SYNTAX.fullmatch(syntax):
        yield (
            dockerfile.directives.syntax_line,
            f"Front end {syntax} is not used: ours reads the file",
        )


RULES: Mapping[str, Callable[[Dockerfile], Iterator[Found]]] = {
    "StageNameCasing": _stage_name_casing,
    "FromAsCasing": _from_as_casing,
    "NoEmptyContinuation": _empty_continuation,
    "ConsistentInstructionCasing": _instruction_casing,
    "DuplicateStageName": _duplicate_stage_name,
    "ReservedStageName": _reserved_stage_name,
    "JSONArgsRecommended": _json_args_recommended,
    "SingleQuotedJSON": _single_quoted_json,
    "MaintainerDeprecated": _maintainer_deprecated,
    "UndefinedArgInFrom": undefined_args_in_from,
    "WorkdirRelativePath": _workdir_relative,
    "UndefinedVar": undefined_variables,
    "MultipleInstructionsDisallowed": _multiple_instructions,
    "LegacyKeyValueFormat": _legacy_key_value,
    "SecretsUsedInArgOrEnv": _secrets,
    "RedundantTargetPlatform": redundant_target_platform,
    "FromPlatformFlagConstDisallowed": constant_platform,
    "InvalidDefaultArgInFrom": invalid_default_base,
    "ExposeProtoCasing": protocol_casing,
    "ExposeInvalidFormat": exposed_mapping,
    "InvalidDefinitionDescription": definition_description,
    "UnsupportedSyntax": _unsupported_syntax,
}
"""The rules by name that read nothing but a Dockerfile; each gives where and what."""


def _words(stage: Stage) -> list[str]:
    """Return the words of a FROM as written."""
    return stage.start.source.logical.split()


def _all(dockerfile: Dockerfile) -> Iterator[ins.Instruction]:
    yield from dockerfile.global_args
    for stage in dockerfile.stages:
        yield stage.start
        yield from stage.instructions


def _inherited(dockerfile: Dockerfile, stage: Stage) -> tuple[ins.Instruction, ...]:
    """Return the instructions of the stages this one stands on."""
    return tuple(each for base in dockerfile.bases(stage) for each in base.instructions)
