"""Tokens of our registry: who gets which, what they let through, and what is no token."""

import base64
import contextlib
import hashlib
import hmac
import json
from urllib.parse import quote, urlencode

import pytest
from pusher import Pusher

from ocimagic.errors import InvalidOption, Unauthorized
from ocimagic.registry.auth import parse_challenges
from ocimagic.registry.client import RegistryClient
from ocimagic.registry.directory import RegistryDirectory
from ocimagic.registry.passwords import Passwords, add_user
from ocimagic.registry.scope import Scope, granted, parse_scopes
from ocimagic.registry.server import RegistryServer, Rules
from ocimagic.registry.signing import Signer
from ocimagic.registry.tokens import REFRESH_S, TOKEN_S, TokenServer, realm_at
from ocimagic.registry.upload import Source
from ocimagic.spec.digest import Digest
from ocimagic.spec.reference import Reference

KEY = bytes(range(32))
PUSH_A = "repository:a:pull,push"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Clock:
    now = 1_700_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "htpasswd"
    add_user(path, "ada", "lovelace")
    return path


@pytest.fixture
def serve(kept, users, clock):
    """Serve with tokens; returns the connection to it."""
    opened = []

    def serve(anonymous_pull=False, key=KEY, **rules):
        tokens = TokenServer(Passwords(users), key, anonymous_pull=anonymous_pull, clock=clock)
        opened.append(RegistryServer(kept, rules=Rules(tokens=tokens, **rules)))
        pusher = Pusher(opened[-1].host)
        opened.append(pusher.connection)
        pusher.host = opened[-2].host
        return pusher

    yield serve
    for each in reversed(opened):
        each.close()


@pytest.fixture
def ask(serve):
    return serve(may_delete=True)


def basic(name="ada", password="lovelace"):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def get_token(pusher, *scopes, login="ada", **more):
    said = [("scope", each) for each in scopes] + list(more.items())
    headers = {"Authorization": basic(login)} if login else {}
    return pusher.ask("GET", f"/token?{urlencode(said)}", **headers)


def bearer(pusher, *scopes, login="ada"):
    return {"Authorization": f"Bearer {get_token(pusher, *scopes, login=login).json['token']}"}


def post_token(pusher, **form):
    return pusher.ask("POST", "/token", urlencode(form), **FORM)


def challenge(answer):
    (found,) = parse_challenges(answer.headers.get_all("WWW-Authenticate"))
    assert found.scheme == "bearer"
    return found.parameters


def part(token, number):
    text = token.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


# -- the challenge -------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v2/", None),
        ("GET", "/v2/_catalog", "registry:catalog:*"),
        ("GET", "/v2/a/tags/list", "repository:a:pull"),
        ("HEAD", "/v2/a/b/manifests/1", "repository:a/b:pull"),
        ("GET", f"/v2/a/blobs/{Digest.of(b'')}", "repository:a:pull"),
        ("GET", f"/v2/a/referrers/{Digest.of(b'')}", "repository:a:pull"),
        ("PUT", "/v2/a/manifests/1", PUSH_A),
        ("POST", "/v2/a/blobs/uploads/", PUSH_A),
        ("PATCH", "/v2/a/blobs/uploads/x", PUSH_A),
        ("GET", "/v2/a/blobs/uploads/x", PUSH_A),
        ("DELETE", "/v2/a/blobs/uploads/x", PUSH_A),
        ("DELETE", "/v2/a/manifests/1", "repository:a:delete"),
        ("POST", "/v2/a/blobs/uploads/?mount=x&from=b", f"{PUSH_A} repository:b:pull"),
        ("POST", "/v2/a/blobs/uploads/?from=b", PUSH_A),
        ("GET", "/v2/NO/manifests/1", None),
        ("GET", "/elsewhere", None),
    ],
)
def test_who_has_no_token_is_told_which_one_and_where(ask, method, path, scope):
    answer = ask.ask(method, path, b"")
    assert answer.status == 401
    said = challenge(answer)
    assert said["realm"] == f"http://{ask.host}/token"
    assert (said["service"], said.get("scope")) == ("ocimagic-registry", scope)
    assert "error" not in said
    assert method == "HEAD" or answer.code == "UNAUTHORIZED"


def test_the_realm_is_where_the_client_found_us(ask):
    assert challenge(ask.ask("GET", "/v2/", Host="class.example:5000"))["realm"] == (
        "http://class.example:5000/token"
    )
    for odd in ('x", evil="', "a b", "", "x" * 300):
        assert realm_at(odd, "[::1]:5", is_secure=True) == "https://[::1]:5/token"
    assert realm_at("[fe80::1]:5000", "x", is_secure=False) == "http://[fe80::1]:5000/token"


def test_a_password_is_no_token(ask):
    assert ask.ask("GET", "/v2/", Authorization=basic()).status == 401


# -- getting one ---------------------------------------------------------------


def test_claims(ask, clock):
    answer = get_token(ask, PUSH_A, "repository:b:pull", "repository:b:push,fly", account="ada")
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    said = answer.json
    assert said["token"] == said["access_token"]
    assert (said["expires_in"], said["issued_at"]) == (TOKEN_S, "2023-11-14T22:13:20Z")
    assert "refresh_token" not in said
    assert part(said["token"], 0) == {"alg": "HS256", "typ": "JWT"}
    claims = part(said["token"], 1)
    both = ["pull", "push"]
    assert claims.pop("access") == [
        {"type": "repository", "name": "a", "actions": both},
        {"type": "repository", "name": "b", "actions": both},
    ]
    assert len(claims.pop("jti")) == 32
    assert len(claims.pop("login")) == 22
    assert claims == {
        "iss": "ocimagic-registry",
        "aud": "ocimagic-registry",
        "sub": "ada",
        "iat": clock.now,
        "nbf": clock.now - 30,
        "exp": clock.now + 300,
    }


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, ""),
        ({"Authorization": basic("ada", "wrong")}, ""),
        ({"Authorization": basic("bob")}, ""),
        ({"Authorization": "Bearer x"}, ""),
        ({"Authorization": basic()}, "?account=kim"),
    ],
)
def test_no_token_without_a_login(ask, headers, query):
    answer = ask.ask("GET", f"/token{query}", **headers)
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    "query",
    [
        "service=elsewhere",
        "scope=a",
        "scope=repository:a",
        "scope=repository::pull",
        "scope=repository:a:pull,,push",
        "scope=" + "+".join(f"repository:a{n}:pull" for n in range(33)),
    ],
)
def test_requests_for_tokens_that_are_none(ask, query):
    answer = ask.ask("GET", f"/token?{query}", Authorization=basic())
    assert (answer.status, answer.code) == (400, "UNSUPPORTED")


def test_oauth(ask):
    said = post_token(
        ask, grant_type="password", username="ada", password="lovelace", client_id="docker",
        service="ocimagic-registry", scope=f"{PUSH_A} repository:b:pull", access_type="offline",
    ).json  # fmt: skip
    assert said["scope"] == f"{PUSH_A} repository:b:pull"
    assert ask.ask("GET", "/v2/", Authorization=f"Bearer {said['access_token']}").status == 200
    again = post_token(
        ask, grant_type="refresh_token", refresh_token=said["refresh_token"], scope=PUSH_A
    )
    assert part(again.json["access_token"], 1)["sub"] == "ada"
    assert "refresh_token" not in again.json
    offline = get_token(ask, offline_token="true").json["refresh_token"]
    assert post_token(ask, grant_type="refresh_token", refresh_token=offline).status == 200


def test_refused_by_oauth(ask, clock, users):
    token = get_token(ask, PUSH_A).json["token"]
    refresh = get_token(ask, offline_token="true").json["refresh_token"]

    def status(**form):
        return post_token(ask, **form).status

    assert status(grant_type="password", username="ada", password="wrong") == 401
    assert status(grant_type="password", username="", password="") == 401
    assert status(grant_type="password", username="ada:lovelace", password="") == 401
    assert status(grant_type="refresh_token", refresh_token="x.y.z") == 401
    assert status(grant_type="refresh_token", refresh_token=token) == 401, "not a refresh token"
    assert status(grant_type="code") == 400
    assert ask.ask("POST", "/token", b"{}", Content_Type="application/json").status == 415
    assert ask.ask("POST", "/token", b"a=%ff\xff", **FORM).status == 400
    assert ask.ask("POST", "/token", b"a=1&" * 40, **FORM).status == 400
    assert ask.ask("DELETE", "/token").status == 405
    # A refresh token opens nothing by itself.
    assert ask.ask("GET", "/v2/", Authorization=f"Bearer {refresh}").status == 401
    # It is over with time, and with the password.
    clock.now += REFRESH_S - 1
    assert status(grant_type="refresh_token", refresh_token=refresh) == 200
    clock.now += 1
    assert status(grant_type="refresh_token", refresh_token=refresh) == 401
    refresh = get_token(ask, offline_token="true").json["refresh_token"]
    add_user(users, "ada", "lovelace")  # the same words, another line
    assert status(grant_type="refresh_token", refresh_token=refresh) == 401


def test_a_form_that_is_too_long_and_a_page_that_asks(ask):
    assert ask.ask("POST", "/token", b"x" * 70_000, **FORM).status == 413


def test_web_pages_get_no_token_by_post(ask):
    assert ask.ask("POST", "/token", b"", Origin="http://evil", **FORM).status == 403


# -- using one -----------------------------------------------------------------


def test_a_token_is_for_what_it_says(ask):
    ask.headers = bearer(ask, PUSH_A)
    raw = ask.image("a", "1", [b"layer"])
    assert ask.ask("GET", "/v2/a/manifests/1").body == raw
    pull_only = bearer(ask, "repository:a:pull")
    for method, path, headers in (
        ("GET", "/v2/b/manifests/1", {}),
        ("PUT", "/v2/b/manifests/1", {}),
        ("DELETE", "/v2/a/manifests/1", {}),
        ("GET", "/v2/_catalog", {}),
        ("PUT", "/v2/a/manifests/1", pull_only),
        ("POST", "/v2/a/blobs/uploads/", pull_only),
    ):
        answer = ask.ask(method, path, b"", **headers)
        assert (answer.status, answer.code) == (401, "DENIED")
        assert challenge(answer)["error"] == "insufficient_scope"
        # And the token that the challenge asks for does it.
        better = bearer(ask, challenge(answer)["scope"])
        assert ask.ask(method, path, b"", **better).status not in {401, 403}


def test_a_mount_needs_to_pull_there(ask):
    secret, digest = b"another's layer", Digest.of(b"another's layer")
    ask.headers = bearer(ask, "repository:b:pull,push")
    ask.blob("b", secret)
    ask.headers = bearer(ask, PUSH_A)
    mount = f"/v2/a/blobs/uploads/?mount={quote(digest)}"
    answer = ask.ask("POST", f"{mount}&from=b")
    assert (answer.status, challenge(answer)["error"]) == (401, "insufficient_scope")
    for anywhere in ("", "&from=", "&from=NO"):
        assert ask.ask("POST", mount + anywhere).status == 202, "an upload, not a mount"
    assert ask.ask("HEAD", f"/v2/a/blobs/{digest}").status == 404
    both = bearer(ask, PUSH_A, "repository:b:pull")
    assert ask.ask("POST", f"{mount}&from=b", **both).status == 201


def test_time(ask, clock):
    token = bearer(ask, PUSH_A)

    def answer():
        return ask.ask("GET", "/v2/", **token)

    begin = clock.now
    for now, status in ((-31, 401), (-30, 200), (0, 200), (TOKEN_S - 1, 200), (TOKEN_S, 401)):
        clock.now = begin + now
        assert answer().status == status, now
    assert challenge(answer())["error"] == "invalid_token"


def test_who_is_no_user_any_more_has_no_token_either(ask, users):
    token = bearer(ask)
    assert ask.ask("GET", "/v2/", **token).status == 200
    kept = users.read_text()
    users.write_text("# nobody\n")
    assert ask.ask("GET", "/v2/", **token).status == 401
    users.write_text("ada:plain\n")
    for path, login in (("/v2/", token), ("/token", {"Authorization": basic()})):
        refused = ask.ask("GET", path, **login)
        assert refused.status == 500
        assert str(users).encode() not in refused.body
    users.write_text(kept)
    assert ask.ask("GET", "/v2/", **token).status == 200


def encoded(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def forgeries(token):
    """Yield what others might make of a token."""
    head, payload, signature = token.split(".")
    claims = part(token, 1)
    more = encoded(claims | {"access": [{"type": "registry", "name": "catalog", "actions": ["*"]}]})
    none = encoded({"alg": "none", "typ": "JWT"})
    yield f"{head}.{more}.{signature}"
    yield f"{none}.{payload}."
    yield f"{none}.{more}.{signature}"
    yield f"{none}.{payload}"
    yield f"{head}.{payload}."
    yield f"{head}.{payload}.{signature[:-1]}"
    yield f"{head}.{payload}.{signature}="
    yield f"{head}.{payload}.{signature[:-2]}{'A' if signature[-2] != 'A' else 'B'}{signature[-1]}"
    yield f"{head}.{payload}.{signature}.{signature}"
    said = f"{head}.{more}".encode()
    for key in (b"", bytes(32), b"ocimagic-registry"):
        made = base64.urlsafe_b64encode(hmac.digest(key, said, "sha256")).rstrip(b"=").decode()
        yield f"{head}.{more}.{made}"
    plain = base64.urlsafe_b64encode(hashlib.sha256(said).digest()).rstrip(b"=").decode()
    yield f"{head}.{more}.{plain}"
    yield Signer(bytes(32)).sign(claims)
    yield token + "A" * 40_000
    yield "\xff.\xff.\xff"
    yield from ("", ".", "..", "null", "e30.e30.e30")


def test_what_is_no_token(ask):
    token = get_token(ask, PUSH_A).json["token"]
    assert ask.ask("GET", "/v2/", Authorization=f"Bearer {token}").status == 200
    tried = 0
    for each in forgeries(token):
        answer = ask.ask("GET", "/v2/", Authorization=f"Bearer {each}")
        assert answer.status == 401, each[:100]
        assert challenge(answer)["error"] == "invalid_token"
        tried += 1
    assert tried == 21


def test_tokens_of_another_registry(serve):
    ours, theirs = serve(), serve(key=bytes(32))
    token = bearer(theirs)
    assert theirs.ask("GET", "/v2/", **token).status == 200
    assert ours.ask("GET", "/v2/", **token).status == 401


def test_the_key_outlives_the_server_and_is_its_alone(tmp_path, users):
    @contextlib.contextmanager
    def served():
        with RegistryDirectory(tmp_path / "data") as kept:
            rules = Rules(tokens=TokenServer(Passwords(users), kept.secret()))
            with RegistryServer(kept, rules=rules) as server, Pusher(server.host) as pusher:
                yield pusher

    with served() as pusher:
        token = bearer(pusher)
    (key,) = (tmp_path / "data").rglob("token.key")
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, 32)
    with served() as pusher:
        assert pusher.ask("GET", "/v2/", **token).status == 200
    key.write_bytes(b"")
    with served() as pusher:
        assert pusher.ask("GET", "/v2/", **token).status == 401
        assert pusher.ask("GET", "/v2/", **bearer(pusher)).status == 200
    with pytest.raises(ValueError, match="32 bytes"):
        Signer(b"short")


# -- pulls for everybody ---------------------------------------------------------


def test_everybody_pulls_and_users_push(serve):
    ask = serve(anonymous_pull=True, may_delete=True)
    with Pusher(ask.host, **bearer(ask, PUSH_A)) as user:
        raw = user.image("a", "1", [b"layer"])
    assert ask.ask("GET", "/v2/a/manifests/1").status == 401, "a token is asked for all the same"
    anybody = get_token(ask, "repository:a:*", "registry:catalog:*", login=None).json
    assert anybody["scope"] == "repository:a:pull registry:catalog:*"
    assert part(anybody["token"], 1)["sub"] == ""
    headers = {"Authorization": f"Bearer {anybody['token']}"}
    assert ask.ask("GET", "/v2/a/manifests/1", **headers).body == raw
    assert ask.ask("GET", "/v2/_catalog", **headers).json == {"repositories": ["a"]}
    for method, path in (("PUT", "/v2/a/manifests/1"), ("DELETE", "/v2/a/manifests/1")):
        refused = ask.ask(method, path, b"", **headers)
        assert challenge(refused)["error"] == "insufficient_scope"
    assert ask.ask("POST", "/v2/a/blobs/uploads/", b"", **headers).status == 401
    wanted_more = get_token(ask, offline_token="true", login=None).json
    assert "refresh_token" not in wanted_more
    assert ask.ask("GET", "/token", Authorization=basic("ada", "wrong")).status == 401


def test_a_token_of_nobody_ends_with_the_right_to_pull(serve):
    opened, closed = serve(anonymous_pull=True), serve()
    token = bearer(opened, "repository:a:pull", login=None)
    assert opened.ask("GET", "/v2/a/tags/list", **token).status == 404
    assert closed.ask("GET", "/v2/a/tags/list", **token).status == 401


def test_read_only_gives_tokens_and_takes_nothing(serve):
    ask = serve(read_only=True)
    ask.headers = bearer(ask, PUSH_A, "repository:a:delete")
    assert post_token(ask, grant_type="password", username="ada", password="lovelace").status == 200
    assert ask.ask("PUT", "/v2/a/manifests/1", b"").status == 405


def test_without_tokens_there_is_no_token_server(push):
    assert push.ask("GET", "/token").status == 404


# -- our own client --------------------------------------------------------------


def test_our_client(serve, transport, logged_in, clock, image):
    host = serve().host
    client = RegistryClient(transport, logged_in(host))
    client.check_login(host)
    manifest, blobs = image
    descriptors = (manifest.config, *manifest.layers)
    references = [Reference.parse(f"{host}/{name}:1") for name in ("a", "b")]
    for reference, mount_from in zip(references, ("", "a"), strict=True):
        uploader = client.uploader(reference)
        for each in descriptors:
            content = blobs[each.digest]
            source = Source(lambda start, content=content: [content[start:]], lambda count: None)
            assert uploader.upload(each, source, mount_from=mount_from) == bool(mount_from)
        uploader.put_manifest(manifest.raw, manifest.media_type, tag="1")
    assert client.manifest(references[0]).raw == manifest.raw
    clock.now += TOKEN_S  # the client's own clock does not know
    with client.open_blob(references[1], descriptors[1]) as stream:
        assert b"".join(stream.chunks) == blobs[descriptors[1].digest]
    assert client.catalog(host) == ["a", "b"]
    assert client.tags(references[1]) == ["1"]
    with pytest.raises(Unauthorized):
        RegistryClient(transport).manifest(references[0])
    wrong = RegistryClient(transport, logged_in(host, username="ada", password="wrong"))
    for refused in (lambda: wrong.manifest(references[0]), lambda: wrong.check_login(host)):
        with pytest.raises(Unauthorized) as caught:
            refused()
        assert "do not go together" in caught.value.why


# -- scopes ----------------------------------------------------------------------


def test_scopes():
    (one, other) = parse_scopes(["repository(plugin):h:5/a:pull", "registry:catalog:*"])
    assert (one.kind, one.name, one.actions) == ("repository", "h:5/a", {"pull"})
    assert str(other) == "registry:catalog:*"
    assert Scope.of_json(one.to_json()) == one
    for text in ('repository:a":pull', "a" * 2000, "repository:a:PULL", ":a:pull"):
        with pytest.raises(InvalidOption):
            parse_scopes([text])
    asked = parse_scopes(["repository:a:*", "registry:other:*", "repository:b:fly", "x:y:pull"])
    assert list(map(str, granted(asked, is_user=True))) == ["repository:a:delete,pull,push"]
    assert list(map(str, granted(asked, is_user=False))) == ["repository:a:pull"]
