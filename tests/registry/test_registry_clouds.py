"""Each cloud's own way to log in, against emulations that speak what it has documented."""

import base64
import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from emulation import basic, form, pulls, query
from rootfs import MadeImage, tar_of
from scripted import Reply

from ocimagic.errors import InvalidOption, RateLimited, RegistryAnswered, Unauthorized
from ocimagic.model.result import PullsLeft
from ocimagic.registry.aws import Keys, signed
from ocimagic.registry.cloudhosts import ecr_host, is_acr, is_google, login_command
from ocimagic.registry.credentials import Login
from ocimagic.registry.google import sign_rs256
from ocimagic.registry.message import Request
from ocimagic.spec.digest import Digest
from ocimagic.spec.reference import Reference

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def answered(document, status=200):
    return Reply(status, [("Content-Type", "application/json")], json.dumps(document).encode())


def everything(seen):
    """Return all that a request said, as one text."""
    return " ".join((seen.path, *seen.headers.values(), seen.body.decode(errors="replace")))


# --- names


@pytest.mark.parametrize(
    ("registry", "region", "endpoint"),
    [
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "us-east-1",
         "https://api.ecr.us-east-1.amazonaws.com"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1",
         "https://ecr-fips.us-gov-west-1.amazonaws.com"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1",
         "https://api.ecr.cn-north-1.amazonaws.com.cn"),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", "eu-west-1",
         "https://ecr.eu-west-1.api.aws"),
        ("public.ecr.aws", "us-east-1", "https://api.ecr-public.us-east-1.amazonaws.com"),
    ],
)  # fmt: skip
def test_where_ecr_gives_tokens(registry, region, endpoint):
    host = ecr_host(registry)
    assert (host.region, host.endpoint) == (region, endpoint)
    assert "aws ecr" in login_command(registry)


@pytest.mark.parametrize(
    "registry",
    [
        "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com:5000",
        "evil.example/123456789012.dkr.ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr.evil.example#.amazonaws.com",
        "12345.dkr.ecr.us-east-1.amazonaws.com",
        "contosoazurecr.io", "contoso.azurecr.io.evil.example", "contoso.azurecr.io:443",
        "a.b.azurecr.io", "azurecr.io",
        "evilgcr.io", "gcr.io.evil.example", "evildocker.pkg.dev", "x.docker.pkg.dev", "pkg.dev",
        "docker.io", "localhost:5000",
    ],
)  # fmt: skip
def test_whose_a_name_is_not(registry):
    assert ecr_host(registry) is None
    assert not is_acr(registry)
    assert not is_google(registry)
    assert login_command(registry).startswith("docker login")


@pytest.mark.parametrize("registry", ["gcr.io", "eu.gcr.io", "europe-west3-docker.pkg.dev"])
def test_google_s_names(registry):
    assert is_google(registry)
    assert login_command(registry) == f"gcloud auth configure-docker {registry}"
    assert login_command("contoso.azurecr.io") == "az acr login --name contoso"


# --- Amazon ECR


def test_signature():
    """Two examples of the documentation: "Create a signed AWS API request" and its test suite."""
    keys = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    when = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    listed = Request(
        "GET",
        "https://iam.amazonaws.com/?Version=2010-05-08&Action=ListUsers",
        {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
    )
    assert signed(listed, keys, "us-east-1", "iam", when).headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )
    vanilla = Request("POST", "https://example.amazonaws.com/", {})
    assert (
        signed(vanilla, keys, "us-east-1", "service", when)
        .headers["Authorization"]
        .endswith("Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b")
    )
    lent = signed(vanilla, Keys("A", "s", "session"), "us-east-1", "service", when)
    assert lent.headers["X-Amz-Security-Token"] == "session"
    assert "x-amz-security-token" in lent.headers["Authorization"]


ECR = "123456789012.dkr.ecr.eu-west-2.amazonaws.com"
ECR_API = "api.ecr.eu-west-2.amazonaws.com"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalr/SECRET+KEY"}


@pytest.fixture
def ecr(world, image):
    """The challenge is as NVIDIA/enroot#59 and mayflower/docker-ls#28 recorded it; the API's
    answer as in the API Reference, "GetAuthorizationToken", with the number that AWS JSON 1.1
    has for a time; a blob is on S3.
    """
    world.valid = "t1"
    manifest, blobs = image
    layer = manifest.layers[0].digest
    bucket = "prod-eu-west-2-starport-layer-bucket.s3.eu-west-2.amazonaws.com"
    world.serves(
        ECR,
        image,
        challenge=f'Basic realm="https://{ECR}/",service="ecr.amazonaws.com"',
        accepts=lambda said: said == basic("AWS", world.valid),
        path="team/",
    )
    plain = world.hosts[ECR]

    def registry(seen):
        reply = plain(seen)
        if seen.path.endswith(f"/blobs/{layer}") and reply.status == 200:
            return Reply(307, [("Location", f"https://{bucket}/x?X-Amz-Signature=s")])
        return reply

    def api(seen):
        token = base64.b64encode(f"AWS:{world.valid}".encode()).decode()
        expires = (NOON + timedelta(hours=12)).timestamp()
        return answered(
            {
                "authorizationData": [
                    {
                        "authorizationToken": token,
                        "expiresAt": expires,
                        "proxyEndpoint": f"https://{ECR}",
                    }
                ]
            }
        )

    def storage(seen):
        # S3 refuses a request with two logins: "Only one auth mechanism allowed".
        return Reply(400 if "authorization" in seen.headers else 200, body=blobs[layer])

    world.hosts |= {ECR: registry, ECR_API: api, bucket: storage}
    return world


def test_ecr(ecr, image):
    client = ecr.client(KEYS | {"AWS_SESSION_TOKEN": "lent"}, now=lambda: NOON)
    pulls(client, image, f"{ECR}/team/app:1")
    pulls(client, image, f"{ECR}/team/app:1")
    (asked,) = ecr.asked(ECR_API)
    assert asked.method == "POST"
    target = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
    assert asked.headers["x-amz-target"] == target
    assert (asked.headers["x-amz-date"], asked.body) == ("20260301T120000Z", b"{}")
    assert "AKIDEXAMPLE/20260301/eu-west-2/ecr/aws4_request" in asked.headers["authorization"]
    assert asked.headers["x-amz-security-token"] == "lent"
    for seen in ecr.seen:
        assert "wJalr" not in everything(seen), "the key itself stays here"
        assert seen is asked or "lent" not in everything(seen)


def test_ecr_s_login_ends_after_twelve_hours(ecr, image):
    passed = [0.0]
    client = ecr.client(
        KEYS, now=lambda: NOON + timedelta(seconds=passed[0]), clock=lambda: passed[0]
    )
    client.manifest(Reference.parse(f"{ECR}/team/app:1"))
    client.manifest(Reference.parse(f"{ECR}/team/app:1"))
    assert len(ecr.asked(ECR_API)) == 1
    ecr.valid = "t2"  # what was lent is refused: another is asked for at once
    client.manifest(Reference.parse(f"{ECR}/team/app:1"))
    assert len(ecr.asked(ECR_API)) == 2
    client.manifest(Reference.parse(f"{ECR}/team/app:1").tagged())
    assert len(ecr.asked(ECR_API)) == 2


def test_ecr_s_keys_in_a_file(ecr, image, tmp_path):
    (tmp_path / ".aws").mkdir()
    path = tmp_path / ".aws/credentials"
    path.write_text(
        "[default]\naws_access_key_id = DEFAULT\naws_secret_access_key = x\n"
        "[class]\naws_access_key_id=CLASS\naws_secret_access_key=y\naws_session_token=z\n"
        "[role]\nrole_arn = arn:aws:iam::123456789012:role/x\n"
    )
    for env, name in (({}, "DEFAULT"), ({"AWS_PROFILE": "class"}, "CLASS")):
        pulls(ecr.client(env, now=lambda: NOON), image, f"{ECR}/team/app:1")
        assert f"Credential={name}/" in ecr.asked(ECR_API)[-1].headers["authorization"]
    with pytest.raises(Unauthorized, match="profile role has no keys"):
        pulls(ecr.client({"AWS_PROFILE": "role"}), image, f"{ECR}/team/app:1")
    path.write_text("aws_secret_access_key = wJalrSECRET without a section\n")
    with pytest.raises(Unauthorized, match="cannot be used") as caught:
        pulls(ecr.client(), image, f"{ECR}/team/app:1")
    assert "wJalr" not in str(caught.value)


def test_ecr_that_refuses(ecr, image):
    said = "The canonical string should have been x-amz-security-token:le\\/nt"

    def api(seen):
        body = b'{"__type":"InvalidSignatureException","message":"%s"}' % said.encode()
        return Reply(403, body=body)

    ecr.hosts[ECR_API] = api
    with pytest.raises(Unauthorized) as caught:
        pulls(ecr.client(KEYS | {"AWS_SESSION_TOKEN": "le/nt"}), image, f"{ECR}/team/app:1")
    text = str(caught.value)
    assert f"{ECR_API} refuses the key" in text
    assert "canonical string" in text
    assert "nt" not in text.partition("token:")[2][:10]
    assert "aws ecr get-login-password --region eu-west-2 | docker login --username AWS" in text


def test_keys_with_a_line_break_are_refused(ecr, image):
    env = KEYS | {"AWS_SESSION_TOKEN": "a\r\nX-Evil: 1"}
    with pytest.raises(Unauthorized, match="characters that no key has"):
        pulls(ecr.client(env), image, f"{ECR}/team/app:1")
    assert ecr.asked(ECR_API) == []


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b'{"authorizationData": []}', b"<html>",
     b'{"authorizationData": [{"authorizationToken": "?"}]}'],
)  # fmt: skip
def test_ecr_that_answers_nonsense(ecr, image, body):
    ecr.hosts[ECR_API] = lambda seen: Reply(body=body)
    with pytest.raises(Unauthorized, match="gives no token"):
        pulls(ecr.client(KEYS), image, f"{ECR}/team/app:1")


def test_the_user_s_own_login_wins(ecr, image):
    login = Login(username="AWS", password="t1")
    pulls(ecr.client(KEYS, logins={ECR: login}), image, f"{ECR}/team/app:1")
    assert ecr.asked(ECR_API) == []


def test_without_keys_nothing_is_asked(ecr, image):
    with pytest.raises(Unauthorized, match="aws ecr get-login-password"):
        pulls(ecr.client(), image, f"{ECR}/team/app:1")
    assert ecr.asked(ECR_API) == []


def test_ecr_public(world, image):
    """The challenge as quoted in oras-py's and trivy's tests: another realm, and ``aws`` for a
    scope; the API's answer as in "GetAuthorizationToken" of the ECR Public API Reference.
    """
    host, api = "public.ecr.aws", "api.ecr-public.us-east-1.amazonaws.com"
    world.serves(
        host,
        image,
        challenge=f'Bearer realm="https://{host}/token/",service="{host}",scope="aws"',
        accepts=lambda said: said == "Bearer t",
        path="docker/library/",
    )
    registry = world.hosts[host]
    world.hosts[host] = lambda seen: (
        answered({"token": "t"}) if seen.path.startswith("/token/?") else registry(seen)
    )
    token = base64.b64encode(b"AWS:lent").decode()
    world.hosts[api] = lambda seen: answered(
        {"authorizationData": {"authorizationToken": token, "expiresAt": 4e9}}
    )
    pulls(world.client(), image, f"{host}/docker/library/app:1")
    (asked,) = (seen for seen in world.asked(host) if seen.path.startswith("/token/"))
    assert query(asked) == {"service": host, "scope": "aws"}
    assert "authorization" not in asked.headers
    pulls(world.client(KEYS), image, f"{host}/docker/library/app:1")
    (signed_one,) = world.asked(api)
    assert signed_one.headers["x-amz-target"] == "SpencerFrontendService.GetAuthorizationToken"
    assert "/us-east-1/ecr-public/aws4_request" in signed_one.headers["authorization"]
    asked = [seen for seen in world.asked(host) if seen.path.startswith("/token/")][-1]
    assert asked.headers["authorization"] == basic("AWS", "lent")


# --- Azure


ACR, ENTRA = "contoso.azurecr.io", "login.microsoftonline.com"
TENANT = "409520d4-8100-4d1d-ad47-72432ddcc120"
PRINCIPAL = {
    "AZURE_TENANT_ID": TENANT,
    "AZURE_CLIENT_ID": "app",
    "AZURE_CLIENT_SECRET": "s3cret~",
}


@pytest.fixture
def acr(world, image):
    """Exchange, challenge and fields as in Azure/acr, docs/AAD-OAuth.md; Entra's as in "The OAuth
    2.0 client credentials flow".
    """
    world.realm = f"https://{ACR}/oauth2/token"

    def registry(seen):
        if seen.path == "/oauth2/exchange":
            good = form(seen)["access_token"] == "aad"
            return answered({"refresh_token": "refresh"}) if good else answered({}, 401)
        if seen.path == "/oauth2/token":
            assert seen.method == "POST", "a refresh token goes in a form"
            fields = form(seen)
            assert fields["grant_type"] == "refresh_token"
            assert fields["service"] == ACR
            if fields["refresh_token"] != "refresh":
                return answered({}, 401)
            return answered({"access_token": f"for {fields['scope']}".replace(" ", "-")})
        world.serves(
            ACR,
            image,
            challenge=f'Bearer realm="{world.realm}",service="{ACR}",'
            'scope="repository:team/app:pull",error="invalid_token"',
            accepts=lambda said: said == "Bearer for-repository:team/app:pull",
            path="team/",
        )
        plain, world.hosts[ACR] = world.hosts[ACR], registry
        return plain(seen)

    def entra(seen):
        fields = form(seen)
        proof = fields.get("client_secret") or fields.get("client_assertion")
        if proof not in {"s3cret~", "federated"}:
            description = f"AADSTS7000215: Invalid client secret provided: {proof}"
            return answered({"error": "invalid_client", "error_description": description}, 401)
        return answered({"token_type": "Bearer", "expires_in": 3599, "access_token": "aad"})

    world.hosts |= {ACR: registry, ENTRA: entra, "login.microsoftonline.us": entra}
    return world


def test_acr_by_a_service_principal(acr, image):
    client = acr.client(PRINCIPAL)
    pulls(client, image, f"{ACR}/team/app:1")
    (entra,) = acr.asked(ENTRA)
    assert entra.path == f"/{TENANT}/oauth2/v2.0/token"
    assert form(entra) == {
        "grant_type": "client_credentials",
        "client_id": "app",
        "client_secret": "s3cret~",
        "scope": "https://containerregistry.azure.net/.default",
    }
    (exchange,) = (seen for seen in acr.asked(ACR) if seen.path == "/oauth2/exchange")
    assert form(exchange) == {
        "grant_type": "access_token",
        "service": ACR,
        "tenant": TENANT,
        "access_token": "aad",
    }
    assert all("s3cret" not in everything(seen) for seen in acr.seen if seen is not entra)


def test_acr_by_a_federated_token_in_another_cloud(acr, image, tmp_path):
    (tmp_path / "token").write_text("federated\n")
    env = {
        "AZURE_TENANT_ID": "contoso.example",
        "AZURE_CLIENT_ID": "app",
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
        "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.us/",
    }
    pulls(acr.client(env), image, f"{ACR}/team/app:1")
    (asked,) = acr.asked("login.microsoftonline.us")
    assert form(asked)["client_assertion_type"].endswith("jwt-bearer")
    assert acr.asked(ENTRA) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"AZURE_CLIENT_SECRET": "wrong-s3cret"}, "AADSTS7000215"),
        ({"AZURE_TENANT_ID": "../../evil"}, "no tenant"),
        ({"AZURE_AUTHORITY_HOST": "http://evil.example"}, "no authority"),
        ({"AZURE_CLIENT_SECRET": "", "AZURE_FEDERATED_TOKEN_FILE": "/"}, "cannot be read"),
    ],
)
def test_acr_that_cannot_be_logged_in_to(acr, image, change, said):
    with pytest.raises(Unauthorized, match=said) as caught:
        pulls(acr.client(PRINCIPAL | change), image, f"{ACR}/team/app:1")
    assert "wrong-s3cret" not in str(caught.value)
    assert acr.asked("evil.example") == []


def test_acr_s_refresh_token_as_docker_keeps_it(acr, image, tmp_path):
    """``az acr login --expose-token``: the user is nobody, the password a refresh token."""
    pair = base64.b64encode(b"00000000-0000-0000-0000-000000000000:refresh").decode()
    (tmp_path / ".docker").mkdir()
    auths = {"auths": {ACR: {"auth": pair}}}
    (tmp_path / ".docker/config.json").write_text(json.dumps(auths))
    pulls(acr.client(), image, f"{ACR}/team/app:1")
    assert acr.asked(ENTRA) == []
    assert all("authorization" not in s.headers for s in acr.asked(ACR) if "oauth2" in s.path)


def test_acr_with_a_hostile_realm(acr, image):
    acr.realm = "https://evil.example/oauth2/token"
    acr.hosts["evil.example"] = lambda seen: answered({"access_token": "x"})
    with pytest.raises(Unauthorized, match="was not sent to evil"):
        pulls(acr.client(PRINCIPAL), image, f"{ACR}/team/app:1")
    assert acr.asked("evil.example") != []
    for seen in acr.asked("evil.example"):
        assert not any(word in everything(seen) for word in ("refresh", "aad", "s3cret"))


# --- Google


GAR, GOOGLE = "europe-docker.pkg.dev", "oauth2.googleapis.com"


@pytest.fixture(scope="module")
def rsa(tmp_path_factory):
    path = tmp_path_factory.mktemp("rsa") / "key.pem"
    words = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    subprocess.run([*words, "-out", path], capture_output=True, check=True)
    public = path.with_name("public.pem")
    words = ["openssl", "pkey", "-in", path, "-pubout", "-out", public]
    subprocess.run(words, capture_output=True, check=True)
    return path, public


def is_signed(public, message, signature, room):
    (room / "signature").write_bytes(signature)
    words = ["openssl", "dgst", "-sha256", "-verify", public, "-signature", room / "signature"]
    return subprocess.run(words, input=message, capture_output=True, check=False).returncode == 0


@pytest.fixture
def google(world, image):
    """Artifact Registry's challenge names no service, as users of europe-docker.pkg.dev recorded
    it; gcr.io's service stands without quotes in their tests.  The token service's answer is as in
    "Using OAuth 2.0 for Server to Server Applications".
    """
    challenges = {
        GAR: f'Bearer realm="https://{GAR}/v2/token",scope="repository:class/images/app:pull"',
        "gcr.io": 'Bearer realm="https://gcr.io/v2/token",service=gcr.io',
    }
    for host, challenge in challenges.items():
        world.serves(host, image, challenge=challenge, path="class/images/",
                     accepts=lambda said: said == "Bearer t")  # fmt: skip
        plain = world.hosts[host]
        world.hosts[host] = lambda seen, plain=plain: (
            token(seen) if seen.path.startswith("/v2/token") else plain(seen)
        )

    def token(seen):
        if seen.method == "POST":
            return Reply(404)  # what Google's says to OAuth's POST
        good = {basic("oauth2accesstoken", "ya29.x"), basic("_json_key", '{"private_key": "k:k"}')}
        return answered({"token": "t"} if seen.headers.get("authorization") in good else {}, 200)

    world.hosts[GOOGLE] = lambda seen: answered(
        {"access_token": "ya29.x", "expires_in": 3599, "token_type": "Bearer"}
    )
    return world


def service_account(tmp_path, rsa, **more):
    path = tmp_path / "key.json"
    document = {
        "type": "service_account",
        "client_email": "robot@class.iam.gserviceaccount.com",
        "private_key_id": "k1",
        "private_key": rsa[0].read_text(),
        "token_uri": f"https://{GOOGLE}/token",
    }
    path.write_text(json.dumps(document | more))
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(path)}


@pytest.mark.parametrize("host", [GAR, "gcr.io"])
def test_google_by_a_service_account(google, image, rsa, tmp_path, host):
    client = google.client(service_account(tmp_path, rsa), now=lambda: NOON)
    pulls(client, image, f"{host}/class/images/app:1")
    (asked,) = google.asked(GOOGLE)
    fields = form(asked)
    assert fields["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    head, claims, signature = fields["assertion"].split(".")
    unpacked = [base64.urlsafe_b64decode(each + "==") for each in (head, claims, signature)]
    assert json.loads(unpacked[0]) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert json.loads(unpacked[1]) == {
        "iss": "robot@class.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": f"https://{GOOGLE}/token",
        "iat": int(NOON.timestamp()),
        "exp": int(NOON.timestamp()) + 3600,
    }
    assert is_signed(rsa[1], f"{head}.{claims}".encode(), unpacked[2], tmp_path)
    wanted = {"scope": "repository:class/images/app:pull", "client_id": "ocimagic"}
    (token,) = (seen for seen in google.asked(host) if seen.path.startswith("/v2/token"))
    assert query(token) == wanted | ({"service": "gcr.io"} if host == "gcr.io" else {})


def test_google_by_a_person(google, image, tmp_path):
    path = tmp_path / ".config/gcloud/application_default_credentials.json"
    path.parent.mkdir(parents=True)
    person = {"client_id": "id", "client_secret": "cs", "refresh_token": "1//r"}
    path.write_text(json.dumps(person | {"type": "authorized_user"}))
    pulls(google.client(), image, f"{GAR}/class/images/app:1")
    (asked,) = google.asked(GOOGLE)
    assert form(asked) == person | {"grant_type": "refresh_token"}


def test_google_by_a_token_in_a_file(google, image, tmp_path):
    (tmp_path / "token").write_text("ya29.x\n")
    env = {"CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(tmp_path / "token")}
    pulls(google.client(env), image, f"{GAR}/class/images/app:1")
    assert google.asked(GOOGLE) == []


def test_google_by_a_login_with_a_key(google, image):
    login = Login(username="_json_key", password='{"private_key": "k:k"}')
    pulls(google.client(logins={GAR: login}), image, f"{GAR}/class/images/app:1")
    assert google.asked(GOOGLE) == []


def test_google_s_metadata_only_where_it_is_named(google, image, scripted):
    metadata = scripted(lambda seen: answered({"access_token": "ya29.x", "expires_in": 60}))
    with pytest.raises(RegistryAnswered):
        pulls(google.client(), image, f"{GAR}/class/images/app:1")
    assert metadata.seen == []
    env = {"GCE_METADATA_HOST": metadata.host}
    pulls(google.client(env), image, f"{GAR}/class/images/app:1")
    (asked,) = metadata.seen
    assert asked.path == "/computeMetadata/v1/instance/service-accounts/default/token"
    assert asked.headers["metadata-flavor"] == "Google"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"token_uri": "https://evil.example/token"}, "used elsewhere"),
        ({"type": "external_account"}, "not supported"),
        ({"private_key": "PRIVATE"}, "cannot use the private key"),
        ({"private_key": 7}, "no key file"),
        ({"private_key": "x" * 20_000}, "too long"),
    ],
)
def test_a_key_file_that_cannot_be_used(google, image, rsa, tmp_path, change, said):
    google.hosts[GAR] = lambda seen: Reply(401, [("Www-Authenticate", "Basic realm=x")])
    client = google.client(service_account(tmp_path, rsa, **change))
    with pytest.raises(Unauthorized, match=said) as caught:
        client.manifest(Reference.parse(f"{GAR}/class/images/app:1"))
    assert "PRIVATE" not in str(caught.value)
    assert google.asked("evil.example") == google.asked(GOOGLE) == []


def test_signing_without_openssl(rsa):
    with pytest.raises(InvalidOption, match="needs openssl"):
        sign_rs256(b"x", rsa[0].read_bytes(), {"PATH": "/nowhere"})


# --- those with ordinary logins and peculiar ways


def bearer(world, image, host, *, realm, service, path, login="", token="t"):
    """Let a host be a registry whose tokens come from a realm, for one login if there is one."""
    scope = f"repository:{path}app:pull"
    world.serves(
        host,
        image,
        challenge=f'Bearer realm="{realm}",service="{service}",scope="{scope}"',
        accepts=lambda said: said == f"Bearer {token}",
        path=path,
    )
    plain = world.hosts[host]
    where, _, at = realm.removeprefix("https://").partition("/")

    def tokens(seen):
        if not seen.path.startswith(f"/{at}?"):
            return plain(seen) if seen.host == host else Reply(404)
        assert query(seen)["scope"] == scope
        assert query(seen)["service"] == service
        if seen.headers.get("authorization", "") != login:
            return answered({"errors": [{"code": "DENIED", "message": "no"}]}, 401)
        return answered({"token": token})

    world.hosts |= {host: tokens, where: tokens}


ADA = Login(username="ada", password="token")


@pytest.mark.parametrize(
    ("host", "realm", "service", "path", "login"),
    [
        # docs.docker.com, "Token authentication"; the Hub's library is not in its users' names.
        ("registry-1.docker.io", "https://auth.docker.io/token", "registry.docker.io",
         "library/", None),
        ("registry-1.docker.io", "https://auth.docker.io/token", "registry.docker.io",
         "ada/", ADA),
        # "Working with the Container registry" (GitHub): a personal access token as password.
        ("ghcr.io", "https://ghcr.io/token", "ghcr.io", "ada/", None),
        ("ghcr.io", "https://ghcr.io/token", "ghcr.io", "ada/", ADA),
        # "Robot accounts" (Quay): the name has a plus sign.
        ("quay.io", "https://quay.io/v2/auth", "quay.io", "org/",
         Login(username="org+robot", password="key")),
        # "Deploy tokens" (GitLab): tokens come from another host of the same owner.
        ("registry.gitlab.com", "https://gitlab.com/jwt/auth", "container_registry", "g/p/",
         Login(username="gitlab+deploy-token-1", password="gldt-x")),
        # "Docker repositories" (JFrog): the repository in the path, or in the host's name; an
        # identity token or an API key is the password.
        ("acme.jfrog.io", "https://acme.jfrog.io/v2/token", "acme.jfrog.io", "docker-local/",
         ADA),
        ("acme-docker-local.jfrog.io",
         "https://acme-docker-local.jfrog.io/artifactory/api/docker/docker-local/v2/token",
         "acme-docker-local.jfrog.io", "", ADA),
    ],
)  # fmt: skip
def test_an_ordinary_login(world, image, host, realm, service, path, login):
    said = basic(login.username, login.password) if login else ""
    bearer(world, image, host, realm=realm, service=service, path=path, login=said)
    hub = host == "registry-1.docker.io"
    name = f"{path}app:1".removeprefix("library/") if hub else f"{host}/{path}app:1"
    known = {("docker.io" if hub else host): login} if login else None
    pulls(world.client(logins=known), image, name)
    if login:
        with_it = [seen for seen in world.seen if said in seen.headers.values()]
        assert {seen.host for seen in with_it} == {realm.split("/")[2]}
        assert {seen.path.partition("?")[0] for seen in with_it} == {
            "/" + realm.split("/", 3)[3]
        }, "the login goes where tokens are made and nowhere else"


def test_artifactory_without_a_login(world, image):
    """An Artifactory closed to strangers answers 406 to a question for their token
    (swarmpit/swarmpit#266).
    """
    host = "acme.jfrog.io"
    bearer(world, image, host, realm=f"https://{host}/v2/token", service=host, path="docker/")
    plain = world.hosts[host]
    world.hosts[host] = lambda seen: (
        Reply(406) if seen.path.startswith("/v2/token") else plain(seen)
    )
    with pytest.raises(Unauthorized, match="nothing without a login") as caught:
        pulls(world.client(), image, f"{host}/docker/app:1")
    assert f"docker login {host}" in str(caught.value)


def test_a_gitlab_of_one_s_own(world, image):
    """Its tokens come from the other host of the two; the user says that they belong together."""
    host, realm = "registry.school.example", "https://gitlab.school.example/jwt/auth"
    login = basic("ada", "token")
    bearer(world, image, host, realm=realm, service="container_registry", path="g/", login=login)
    logins = {host: ADA}
    with pytest.raises(Unauthorized) as caught:
        pulls(world.client(logins=logins), image, f"{host}/g/app:1")
    assert login not in [s.headers.get("authorization") for s in world.seen]
    assert "OCIMAGIC_TRUSTED_REALMS=gitlab.school.example" in str(caught.value)
    env = {"OCIMAGIC_TRUSTED_REALMS": "gitlab.school.example"}
    pulls(world.client(env, logins=logins), image, f"{host}/g/app:1")


def test_ghcr_that_denies(world, image):
    """``denied`` in GHCR's words, from recorded failures of its users (pytorch/pytorch#184664)."""
    words = "installation not allowed to Write organization package"
    denied = {"errors": [{"code": "DENIED", "message": words}]}
    world.hosts["ghcr.io"] = lambda seen: answered(denied, 403)
    with pytest.raises(Unauthorized, match=words):
        pulls(world.client(), image, "ghcr.io/ada/app:1")


# --- Docker Hub, by a whole engine


class Hub:
    """Docker Hub for one image: tokens, blobs on another host, and its count of pulls.

    Headers and the words of the 429 are from "Usage and limits" (docs.docker.com) and
    docker/getting-started#101; a HEAD does not count.
    """

    def __init__(self, world, image, limit):
        self.image, self.left, self.limit = image, limit, limit
        self.asked = []
        world.hosts |= {
            "registry-1.docker.io": self.registry,
            "auth.docker.io": lambda seen: answered({"token": "t", "expires_in": 300}),
            "production.cloudflare.docker.com": self.storage,
        }

    def counted(self):
        return [
            ("ratelimit-limit", f"{self.limit};w=21600"),
            ("ratelimit-remaining", f"{self.left};w=21600"),
            ("docker-ratelimit-source", "192.0.2.1"),
        ]

    def registry(self, seen):
        if seen.headers.get("authorization") != "Bearer t":
            realm = "https://auth.docker.io/token"
            scope = "repository:library/demo:pull"
            said = f'Bearer realm="{realm}",service="registry.docker.io",scope="{scope}"'
            return Reply(401, [("Www-Authenticate", said)])
        kind = seen.path.split("/")[4]
        self.asked.append(f"{seen.method} {kind}")
        assert seen.path.startswith("/v2/library/demo/")
        if kind == "blobs":
            target = f"https://production.cloudflare.docker.com/{seen.path.split('/')[-1]}?sig=1"
            return Reply(307, [("Location", target)])
        if seen.method == "GET":
            if not self.left:
                words = "You have reached your unauthenticated pull rate limit."
                said = {"errors": [{"code": "TOOMANYREQUESTS", "message": words}]}
                return Reply(429, self.counted(), json.dumps(said).encode())
            self.left -= 1
        digest = ("Docker-Content-Digest", str(self.image.digest))
        head = [("Content-Type", self.image.media_type), digest, *self.counted()]
        return Reply(headers=head, body=self.image.manifest_raw)

    def storage(self, seen):
        assert "authorization" not in seen.headers
        return Reply(body=self.image.blobs[Digest.parse(seen.path[1:].partition("?")[0])])


def test_pulls_left_at_the_hub(world, make_engine):
    hub = Hub(world, MadeImage([tar_of(("etc", None), ("etc/a", b"a"))]), limit=2)
    engine = make_engine(**world.environment())
    first = engine.images.pull("demo")
    left = PullsLeft(left=1, limit=2, window_s=21600, is_anonymous=True)
    assert first.pulls_left == left
    assert hub.asked[:2] == ["HEAD manifests", "GET manifests"]
    hub.asked.clear()
    again = engine.images.pull("demo")
    assert (again.up_to_date, again.pulls_left) == (True, left)
    assert hub.asked == ["HEAD manifests"], "which does not count"
    hub.image = MadeImage([tar_of(("etc", None), ("etc/a", b"b"))])
    assert engine.images.pull("demo").pulls_left.left == 0
    hub.image = MadeImage([tar_of(("etc", None), ("etc/a", b"c"))])
    with pytest.raises(RateLimited) as caught:
        engine.images.pull("demo")
    text = str(caught.value)
    assert "docker.io gives no more pulls" in text
    assert "2 pulls in 6 hours to each network address" in text
    assert "come back in 6 hours at the latest" in text
    assert engine.images.list() != (), "what is here stays"
