"""What a registry says no with, put into words a learner can act on.

Spec: distribution-spec "Error Codes"; Docker Hub's pull limits.
"""

from __future__ import annotations

import math
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Self

from ocimagic.errors import (
    BlobNotFound,
    ImageNotFound,
    InvalidDocument,
    RateLimited,
    RegistryAnswered,
    RegistryUnreachable,
    Unauthorized,
)
from ocimagic.registry.cloudhosts import login_command
from ocimagic.registry.message import MAX_ERROR_BYTES, retry_after_s
from ocimagic.spec.codec import decode
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.errors import OcimagicError
    from ocimagic.registry.message import Answer
    from ocimagic.spec.codec import Fields
    from ocimagic.spec.reference import Reference

_MAX_WORDS = 300


@dataclass(frozen=True, slots=True)
class RegistryWords:
    """The first error in a registry's answer.

    Attributes:
        code: upper case, for example MANIFEST_UNKNOWN; "" when it gave none.
        text: one line, safe to print.
    """

    code: str = ""
    text: str = ""

    def __str__(self) -> str:
        return self.text or self.code.lower().replace("_", " ")

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read the body of an error; one that is not JSON says nothing."""
        try:
            fields = decode(body, what="error", max_bytes=MAX_ERROR_BYTES)
            errors = fields.children("errors")
            return cls(*_code_and_text(errors[0] if errors else fields))
        except InvalidDocument:
            return cls()


def _code_and_text(fields: Fields) -> tuple[str, str]:
    """Take code and words out of one error; token servers use the names of OAuth."""
    found = {
        key: value
        for key in ("code", "message", "error", "error_description", "details", "detail")
        if isinstance(value := fields.value.get(key), str)
    }
    text = (
        found.get("message")
        or found.get("error_description")
        or found.get("details")
        or found.get("error")
        or found.get("detail")
        or ""
    )
    line = "".join(char if char.isprintable() else " " for char in text[:_MAX_WORDS])
    return re.sub(r"[^A-Z0-9_]", "", found.get("code", "").upper())[:40], " ".join(line.split())


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many pulls a registry still gives, from its own headers.

    Attributes:
        limit: pulls in one window.
        remaining: pulls left now.
        window_s: length of the window in seconds, 0 when not said.
        source: the address or user the registry counts for, or None.
    """

    limit: int
    remaining: int
    window_s: int
    source: str | None = None

    @classmethod
    def of(cls, answer: Answer) -> RateLimit | None:
        """Read Docker Hub's headers, such as ``ratelimit-remaining: 76;w=21600``."""
        limit = _count(answer.header("ratelimit-limit"))
        remaining = _count(answer.header("ratelimit-remaining"))
        if limit is None or remaining is None:
            return None
        source = answer.header("docker-ratelimit-source")
        return cls(limit[0], remaining[0], limit[1], source or None)

    @property
    def is_anonymous(self) -> bool | None:
        """Say whether an address is counted, and no user; None when the registry does not say."""
        if self.source is None:
            return None
        try:
            ip_address(self.source)
        except ValueError:
            return False
        return True


def _count(header: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"([0-9]{1,9})(?:;w=([0-9]{1,9}))?", header)
    return (int(found[1]), int(found[2] or 0)) if found else None


def refusal(
    answer: Answer,
    reference: Reference,
    *,
    what: str,
    within_s: float,
    notes: Sequence[str] = (),
) -> OcimagicError:
    """Turn an answer that is not what was asked for into an error.

    Args:
        answer: its body is read and it is closed.
        reference: the image it is about.
        what: ``image``, ``blob`` or ``tags``: what was asked for; ``upload``: what was sent.
        within_s: seconds to wait for the body.
        notes: what may have kept a login from working.
    """
    with answer:
        words = RegistryWords.parse(answer.error_text(within_s=within_s))
    status, host = answer.status, answer.origin.shown
    if status == 429:
        return _rate_limited(answer, words, host)
    if status in {401, 403} and answer.origin == answer.asked:
        return _unauthorized(reference, words, notes, host, what=what)
    if what == "upload" and status < 500:
        return _not_taken(answer, reference, words)
    if status == 404:
        return _not_found(reference, words, host, what=what)
    if status >= 500 or status == 408:
        return RegistryUnreachable(
            f"{host} is out of order",
            why=str(words) or f"HTTP {status}",
            hint="try again in a few minutes",
        )
    thing = reference.familiar if what == "image" else f"the {what} of {reference.familiar}"
    # Storage behind the registry has its own logins; ours is not the matter there.
    sent = "" if answer.origin == answer.asked else f", where {answer.asked.shown} sent us"
    why = f"HTTP {status}" + (f": {words}" if str(words) else "")
    return RegistryAnswered(f"{host}{sent} does not give {thing}", why=why)


def _not_found(
    reference: Reference, words: RegistryWords, host: str, *, what: str
) -> ImageNotFound | BlobNotFound:
    if what == "blob":
        return BlobNotFound(
            f"{host} lacks a blob of {reference.familiar}",
            why=str(words) or None,
            hint="the image was pushed incompletely or partly deleted; ask its owner",
        )
    if words.code == "NAME_UNKNOWN":
        said = f"no repository {reference.familiar_name} in {host}"
        hint = "check the spelling of the name"
    else:
        said = f"no image {reference.familiar} in {host}"
        hint = "check the name and the tag; the repository may have other tags"
    return ImageNotFound(said, why=str(words) or None, hint=hint)


def _not_taken(
    answer: Answer, reference: Reference, words: RegistryWords
) -> RegistryAnswered | ImageNotFound:
    """Say why a registry does not take what is pushed to it."""
    host, why = answer.origin.shown, str(words) or f"HTTP {answer.status}"
    if words.code == "NAME_UNKNOWN" or (answer.status == 404 and not words.code):
        return ImageNotFound(
            f"no repository {reference.familiar_name} in {host}",
            why=why,
            hint="this registry wants it to be made first, with its own tools or pages",
        )
    hint = None
    if words.code == "TAG_INVALID" or "immutable" in why.lower():
        hint = "its tags cannot be changed: push under another one"
    elif answer.status == 405 or words.code == "UNSUPPORTED":
        hint = "it can perhaps only be pulled from"
    elif answer.status == 413:
        hint = "the registry, or a proxy before it, takes no layer of this size"
    return RegistryAnswered(f"{host} does not take {reference.familiar}", why=why, hint=hint)


def login_refusal(
    answer: Answer, registry: str, *, within_s: float, notes: Sequence[str] = ()
) -> OcimagicError:
    """Turn what a registry answers to a login into an error; the answer is closed."""
    with answer:
        words = RegistryWords.parse(answer.error_text(within_s=within_s))
    host = answer.origin.shown
    if answer.status in {401, 403}:
        reasons = [str(words) or "unauthorized: authentication required", *notes]
        return Unauthorized(
            f"{host} refuses this login",
            why="\n".join(reasons),
            hint="check user name and password; some registries want a token instead of it",
        )
    return RegistryAnswered(
        f"{host} does not answer as a registry",
        why=str(words) or f"HTTP {answer.status}",
        hint=f"check the address {registry}",
    )


def catalog_refusal(
    answer: Answer, registry: str, *, within_s: float, notes: Sequence[str] = ()
) -> OcimagicError:
    """Turn what a registry answers instead of its list of repositories into an error."""
    with answer:
        words = RegistryWords.parse(answer.error_text(within_s=within_s))
    host, said = answer.origin.shown, str(words) or f"HTTP {answer.status}"
    if answer.status == 429:
        return _rate_limited(answer, words, host)
    if answer.status >= 500 and answer.status != 501:
        return RegistryUnreachable(f"{host} is out of order", why=said)
    if answer.status in {401, 403}:
        return Unauthorized(
            f"{host} does not say which repositories it has",
            why="\n".join([said, *notes]),
            hint=f"some tell it to who is logged in: {login_command(registry)}\n"
            f"others never do, but list the tags of one: registry ls {registry}/REPOSITORY",
        )
    return no_catalog(registry, said)


def no_catalog(registry: str, why: str) -> RegistryAnswered:
    """Say that a registry does not list its repositories."""
    return RegistryAnswered(
        f"{registry} does not say which repositories it has",
        why=why,
        hint=f"name one, and its tags are listed: registry ls {registry}/REPOSITORY",
    )


def _unauthorized(
    reference: Reference, words: RegistryWords, notes: Sequence[str], host: str, *, what: str
) -> Unauthorized:
    if what == "upload":
        return Unauthorized(
            f"push access denied for {reference.familiar_name}",
            why="\n".join(each for each in (str(words), *notes) if each) or None,
            hint="a name there begins with the account or project it belongs to; to log in: "
            + login_command(reference.registry),
            where=host,
        )
    reasons = ["the repository does not exist, or it is private", str(words), *notes]
    return Unauthorized(
        f"pull access denied for {reference.familiar_name}",
        why="\n".join(reason for reason in reasons if reason),
        hint=f"check the spelling; for a private image: {login_command(reference.registry)}",
        where=host,
    )


def _rate_limited(answer: Answer, words: RegistryWords, host: str) -> RateLimited:
    limit = RateLimit.of(answer)
    reasons = [str(words)]
    if limit:
        hours = f" in {limit.window_s / 3600:g} hours" if limit.window_s else ""
        reasons.append(
            f"it gives {limit.limit} pulls{hours} to each network address, which a whole class"
            " may share, or to each user who is logged in"
        )
    return RateLimited(
        f"{host} gives no more pulls for now",
        why="\n".join(reason for reason in reasons if reason) or None,
        hint=f"{_when_to_come_back(answer, limit)},\n"
        "log in with `docker login`, or use images you already have",
        where=host,
    )


def _when_to_come_back(answer: Answer, limit: RateLimit | None) -> str:
    wait_s = retry_after_s(answer.header("retry-after"))
    if wait_s is not None:
        return f"come back in {_long(wait_s)}"
    if limit and limit.window_s:
        # Nothing says when the window began.
        return f"come back in {_long(limit.window_s)} at the latest"
    return "wait"


def _long(seconds: float) -> str:
    """Write a time to wait, rounded up: who comes too early waits twice."""
    if seconds <= 90:
        return f"{max(1, math.ceil(seconds))} seconds"
    minutes = math.ceil(seconds / 60)
    if minutes <= 90:
        return f"{minutes} minutes"
    return f"{math.ceil(minutes / 60)} hours"
