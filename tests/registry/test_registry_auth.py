import base64
import json
import threading
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from scripted import Reply

from ocimagic.errors import (
    InvalidOption,
    RateLimited,
    RegistryAnswered,
    RegistryUnreachable,
    Unauthorized,
)
from ocimagic.registry.auth import Authenticator, Challenge, Subject, parse_challenges
from ocimagic.registry.credentials import Login
from ocimagic.registry.message import Request
from ocimagic.registry.transport import Transport

BASIC = "Basic " + base64.b64encode(b"ada:lovelace").decode()
PULL = "repository:team/app:pull"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        (['Basic realm="x"'], [("basic", {"realm": "x"})]),
        (["BASIC REALM=x"], [("basic", {"realm": "x"})]),
        (
            ['Bearer realm="https://a/t?x=1,2",service="s",scope="repository:a/b:pull,push"'],
            [
                (
                    "bearer",
                    {
                        "realm": "https://a/t?x=1,2",
                        "service": "s",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (
            ['Basic realm="x", Bearer realm="y" , error="invalid_token"'],
            [("basic", {"realm": "x"}), ("bearer", {"realm": "y", "error": "invalid_token"})],
        ),
        (
            ['Bearer realm="y"', "Basic realm=x"],
            [("bearer", {"realm": "y"}), ("basic", {"realm": "x"})],
        ),
        (["Negotiate, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (["Negotiate oWc3==, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        ([r'Basic realm="a\"b\\c"'], [("basic", {"realm": 'a"b\\c'})]),
        (['Basic realm="one", realm="two"'], [("basic", {"realm": "one"})]),
        (['Bearer realm="never closed'], [("bearer", {})]),
        (['"', "=", ",,,", "\x00"], []),
    ],
)  # fmt: skip
def test_parse_challenges(headers, expected):
    assert parse_challenges(headers) == [Challenge(*each) for each in expected]


def test_parse_challenges_of_a_hostile_length():
    start = time.process_time()  # others may have the processor meanwhile
    for text in ("a " * 30_000, 'a b="' * 12_000, '"' * 60_000, "a=" * 30_000, "," * 60_000):
        parse_challenges([text])
    assert time.process_time() - start < 1


def challenge(realm, /, **more):
    more = {"realm": realm, "service": "reg", "scope": PULL} | more
    said = ",".join(f'{name}="{value}"' for name, value in more.items() if value is not None)
    return Reply(401, [("WWW-Authenticate", f"Bearer {said}")])


class Bearer:
    """A registry with a token server, each on its own port unless they share one."""

    def __init__(self, scripted, *, shared=True, **challenge_more):
        self.more = challenge_more
        self.valid = {"t1"}
        self.token = {"token": "t1", "expires_in": 300}
        self.token_status = 200
        self.registry = scripted(self.answer)
        self.tokens = self.registry if shared else scripted(self.answer)

    def answer(self, seen):
        if seen.path.startswith("/token"):
            body = self.token if isinstance(self.token, bytes) else json.dumps(self.token).encode()
            return Reply(self.token_status, body=body)
        if seen.headers.get("authorization", "").removeprefix("Bearer ") in self.valid:
            return Reply(body=b"yes")
        return challenge(f"{self.tokens.url}/token", **self.more)

    @property
    def token_requests(self):
        return [seen for seen in self.tokens.seen if seen.path.startswith("/token")]


@pytest.fixture
def ask(transport):
    """Ask a server through an Authenticator; return the status."""

    def ask(server, auth=None, path="/v2/team/app/manifests/1"):
        auth = auth or Authenticator(transport)
        with auth.open(Request("GET", server.url + path), Subject(server.host, "team/app")) as got:
            got.read_some(max_bytes=99, within_s=1)
            return got.status

    return ask


def test_anonymous_token(scripted, transport, ask):
    bearer = Bearer(scripted)
    auth = Authenticator(transport)
    assert ask(bearer.registry, auth) == 200
    assert ask(bearer.registry, auth) == 200
    (request,) = bearer.token_requests
    query = parse_qs(urlsplit(request.path).query)
    assert (request.method, query) == ("GET", {"service": ["reg"], "scope": [PULL]})
    assert "authorization" not in request.headers
    assert len(bearer.registry.seen) == 4, "the token is used at once the second time"
    assert len({seen.client_port for seen in bearer.registry.seen}) == 1, "on one connection"


def test_token_under_its_other_name_and_a_realm_with_a_query(scripted, ask):
    bearer = Bearer(scripted, scope=None)
    bearer.token = {"access_token": "t1"}
    bearer.more["realm"] = f"{bearer.registry.url}/token?tenant=7"
    assert ask(bearer.registry) == 200
    query = parse_qs(urlsplit(bearer.token_requests[0].path).query)
    assert query == {"tenant": ["7"], "service": ["reg"], "scope": [PULL]}


def test_user_and_password(scripted, transport, ask, logged_in):
    bearer = Bearer(scripted)
    auth = Authenticator(transport, logged_in(bearer.registry.host))
    assert ask(bearer.registry, auth) == 200
    (request,) = bearer.token_requests
    assert request.headers["authorization"] == BASIC
    others = [seen for seen in bearer.registry.seen if seen is not request]
    assert all(BASIC not in seen.headers.values() for seen in others)


def test_identity_token_is_posted(scripted, transport, ask, logged_in):
    bearer = Bearer(scripted)
    auth = Authenticator(transport, logged_in(bearer.registry.host, identity_token="id"))
    assert ask(bearer.registry, auth) == 200
    (request,) = bearer.token_requests
    form = parse_qs(request.body.decode())
    assert request.method == "POST"
    assert form["grant_type"] == ["refresh_token"]
    assert (form["refresh_token"], form["scope"]) == (["id"], [PULL])


def test_registry_token_needs_no_token_server(scripted, transport, ask, logged_in):
    bearer = Bearer(scripted)
    auth = Authenticator(transport, logged_in(bearer.registry.host, registry_token="t1"))
    assert ask(bearer.registry, auth) == 200
    assert bearer.token_requests == []


def test_token_expires(scripted, transport, ask):
    bearer = Bearer(scripted)
    now = [1000.0]
    auth = Authenticator(transport, clock=lambda: now[0])
    for later, requests in ((0, 1), (280, 1), (15, 2)):
        now[0] += later
        assert ask(bearer.registry, auth) == 200
        assert len(bearer.token_requests) == requests


def test_insufficient_scope_is_asked_for_again_once(scripted, ask):
    bearer = Bearer(scripted, error="insufficient_scope")
    bearer.valid = {"t2"}
    answer = bearer.answer

    def widen(seen):
        if seen.headers.get("authorization") == "Bearer t1":
            bearer.token = {"token": "t2"}
            bearer.more["scope"] = "repository:team/app:pull repository:base:pull"
        return answer(seen)

    bearer.registry.script = widen
    assert ask(bearer.registry) == 200
    _first, second = bearer.token_requests
    assert parse_qs(urlsplit(second.path).query)["scope"] == [PULL, "repository:base:pull"]


def test_a_401_loop_ends(scripted, ask):
    bearer = Bearer(scripted)
    counter = iter(range(100))
    answer = bearer.answer

    def never(seen):
        bearer.token = {"token": f"n{next(counter)}"}
        return answer(seen)

    bearer.registry.script = never
    assert ask(bearer.registry) == 401
    assert len(bearer.token_requests) == 2


def test_basic(scripted, transport, ask, logged_in):
    def script(seen):
        if seen.headers.get("authorization") == BASIC:
            return Reply()
        return Reply(401, [("WWW-Authenticate", 'Basic realm="class"')])

    server = scripted(script)
    auth = Authenticator(transport, logged_in(server.host))
    assert ask(server, auth) == 200
    assert ask(server, auth) == 200
    assert len(server.seen) == 3
    assert ask(server) == 401, "without a login the 401 comes back"
    other = Authenticator(transport, logged_in("elsewhere.example"))
    assert ask(server, other) == 401
    wrong = Authenticator(transport, logged_in(server.host, username="ada", password="x"))
    server.seen.clear()
    assert ask(server, wrong) == 401
    assert len(server.seen) == 2, "the same wrong password is not sent twice"


def test_an_offer_we_can_take_is_taken(scripted, ask):
    bearer = Bearer(scripted)
    answer = bearer.answer

    def two_offers(seen):
        reply = answer(seen)
        if reply.status == 401:
            reply.headers.insert(0, ("WWW-Authenticate", 'Basic realm="x"'))
        return reply

    bearer.registry.script = two_offers
    assert ask(bearer.registry) == 200


def test_realm_on_another_host_gets_no_login(scripted, transport, ask, logged_in):
    bearer = Bearer(scripted, shared=False)
    credentials = logged_in(bearer.registry.host)
    auth = Authenticator(transport, credentials)
    assert ask(bearer.registry, auth) == 200, "what is public still works"
    (request,) = bearer.token_requests
    assert "authorization" not in request.headers
    note = auth.notes(Subject(bearer.registry.host, "team/app"))
    assert bearer.tokens.host in note[0]
    trusting = Authenticator(transport, credentials, trusted_realms=frozenset({bearer.tokens.host}))
    assert ask(bearer.registry, trusting) == 200
    assert bearer.token_requests[1].headers["authorization"] == BASIC


@pytest.mark.parametrize(
    "realm",
    [
        "http://10.0.0.1/token",
        "https://169.254.169.254/",
        "ftp://x/",
        "http://evil.example/t",
        "/t",
    ],
)
def test_realm_that_is_refused(scripted, ask, realm):
    server = scripted(lambda seen: challenge(realm))
    with pytest.raises(RegistryAnswered):
        ask(server)


def test_redirected_token_request_loses_the_login(scripted, transport, ask, logged_in):
    thief = scripted(lambda seen: Reply(body=b'{"token": "t1"}'))

    def script(seen):
        if seen.path.startswith("/token"):
            return Reply(307, [("Location", f"{thief.url}/steal")])
        return bearer_answer(seen)

    bearer = Bearer(scripted)
    bearer_answer = bearer.answer
    bearer.registry.script = script
    for fields in ({}, {"identity_token": "id"}):
        auth = Authenticator(transport, logged_in(bearer.registry.host, **fields))
        if fields:
            with pytest.raises(RegistryAnswered):
                ask(bearer.registry, auth)
        else:
            assert ask(bearer.registry, auth) == 200
    (stolen,) = thief.seen
    assert (stolen.body, stolen.headers.get("authorization")) == (b"", None)


@pytest.mark.parametrize(
    ("token", "status", "error"),
    [
        (b"not json", 200, RegistryAnswered),
        (b"{}", 200, RegistryAnswered),
        (b'{"token": 7}', 200, RegistryAnswered),
        (b'{"token": "a\\r\\nX-Evil: 1"}', 200, RegistryAnswered),
        (b'{"token": "a b"}', 200, RegistryAnswered),
        (b'{"token": "%s"}' % (b"a" * (1 << 20)), 200, RegistryAnswered),
        (b'{"token": "t1", "expires_in": -1}', 200, RegistryAnswered),
        (b'{"details": "wrong password"}', 401, Unauthorized),
        (b"", 403, Unauthorized),
        (b"", 404, RegistryAnswered),
        (b"", 429, RateLimited),
        (b"", 503, RegistryUnreachable),
    ],
)
def test_token_server_that_gives_no_token(
    scripted, transport, ask, logged_in, token, status, error
):
    bearer = Bearer(scripted)
    bearer.token, bearer.token_status = token, status
    auth = Authenticator(transport, logged_in(bearer.registry.host))
    with pytest.raises(error) as caught:
        ask(bearer.registry, auth)
    if b"wrong" in token:
        assert "wrong password" in str(caught.value)
        assert "ada" in caught.value.what


def test_one_token_for_many_threads(scripted, transport, ask):
    bearer = Bearer(scripted)
    auth = Authenticator(transport)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(ask(bearer.registry, auth)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [200] * 8
    assert len(bearer.token_requests) == 1


def test_login_repr_hides_what_it_holds():
    assert "lovelace" not in repr(Login(username="ada", password="lovelace"))
    assert "Bearer" not in repr(Request("GET", "https://x/", {"Authorization": "Bearer t"}))


def test_proxy_setting_that_is_wrong_is_said(patience):
    transport = Transport(env={"HTTPS_PROXY": "socks5://x"}, patience=patience)
    with transport, pytest.raises(InvalidOption):
        transport.open(Request("GET", "https://quay.io/"))
