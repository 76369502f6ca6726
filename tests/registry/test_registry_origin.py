import pytest

from ocimagic.errors import InvalidOption, RegistryAnswered
from ocimagic.registry.origin import Origin, check_step, reach_of, shown_url
from ocimagic.registry.proxy import proxy_for


@pytest.mark.parametrize(
    ("host", "reach"),
    [
        ("localhost", "loopback"),
        ("me.localhost", "loopback"),
        ("127.0.0.1", "loopback"),
        ("127.9.8.7", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("0.0.0.0", "loopback"),
        ("::", "loopback"),
        ("10.1.2.3", "private"),
        ("192.168.0.1", "private"),
        ("172.16.0.1", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("169.254.169.254", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("127.1", "link-local"),
        ("2130706433", "link-local"),
        ("0x7f000001", "link-local"),
        ("8.8.8.8", "public"),
        ("registry-1.docker.io", "public"),
    ],
)
def test_reach_of(host, reach):
    assert reach_of(host) == reach


@pytest.mark.parametrize(
    ("url", "origin", "shown"),
    [
        ("https://Quay.IO/v2/", Origin("https", "quay.io", 443), "quay.io"),
        ("https://quay.io./v2/", Origin("https", "quay.io", 443), "quay.io"),
        ("http://[::1]:5000/", Origin("http", "::1", 5000), "[::1]:5000"),
        ("http://quay.io:443", Origin("http", "quay.io", 443), "quay.io:443"),
        ("https://registry-1.docker.io", Origin("https", "registry-1.docker.io", 443), "docker.io"),
    ],
)
def test_origin(url, origin, shown):
    assert Origin.of(url) == origin
    assert Origin.of(url).shown == shown


@pytest.mark.parametrize(
    "url",
    [
        "ftp://quay.io/",
        "//quay.io/",
        "https://",
        "https:///x",
        "https://quay.io:99999/",
        "https://[::1/",
        "https://quay.io/a b",
        "https://quay.io/\r\nx: y",
        "https://good\\.evil/",
        "file:///etc/passwd",
    ],
)
def test_origin_refuses(url):
    with pytest.raises(RegistryAnswered):
        Origin.of(url)


HUB = "https://registry-1.docker.io"


@pytest.mark.parametrize(
    ("asked_by", "url", "insecure", "allowed"),
    [
        (HUB, "https://cdn.example/blob?sig=1", (), True),
        (HUB, "http://cdn.example/blob", (), False),
        (HUB, "http://cdn.example/blob", ("cdn.example",), False),
        (HUB, "http://127.0.0.1:80/", (), False),
        (HUB, "https://127.0.0.1/", (), False),
        (HUB, "https://localhost/", (), False),
        (HUB, "https://10.0.0.7/", (), False),
        (HUB, "https://169.254.169.254/latest", (), False),
        (HUB, "https://u:p@cdn.example/", (), False),
        ("https://10.0.0.1", "https://10.0.0.2/", (), True),
        ("https://10.0.0.1", "https://127.0.0.1/", (), False),
        ("https://169.254.1.1", "https://169.254.1.1/x", (), True),
        ("https://169.254.1.1", "https://169.254.1.2/x", (), False),
        ("https://reg.lan", "https://10.0.0.2/", (), False),
        ("https://reg.lan", "https://10.0.0.2/", ("10.0.0.2",), True),
        ("http://127.0.0.1:5000", "http://localhost:9000/", (), True),
        ("http://127.0.0.1:5000", "http://10.0.0.2/", (), False),
        ("http://127.0.0.1:5000", "http://169.254.169.254/", (), False),
        ("http://127.0.0.1:5000", "http://minio.lan:9000/", (), False),
        ("http://127.0.0.1:5000", "http://minio.lan:9000/", ("minio.lan:9000",), True),
        ("http://127.0.0.1:5000", "https://cdn.example/", (), True),
    ],
)
def test_check_step(asked_by, url, insecure, allowed):
    def check():
        return check_step(url, asked_by=Origin.of(asked_by), insecure=frozenset(insecure))

    if allowed:
        assert check() == Origin.of(url)
    else:
        with pytest.raises(RegistryAnswered) as caught:
            check()
        assert "sig" not in str(caught.value)
        assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h:1/a?token=t#f", "https://h:1/a"),
        ("https://h/" + "a" * 300, "https://h/" + "a" * 187 + "..."),
        ("https://[::1/", "(an address that cannot be read)"),
    ],
)
def test_shown_url_keeps_secrets(url, shown):
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("url", "env", "proxy"),
    [
        ("https://quay.io", {"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        ("https://quay.io", {"https_proxy": "p:3128"}, "http://p:3128"),
        ("https://quay.io", {"HTTP_PROXY": "http://p:3128"}, None),
        ("https://127.0.0.1", {"HTTPS_PROXY": "http://p:3128"}, None),
        ("https://quay.io", {"HTTPS_PROXY": "http://p", "NO_PROXY": "x, .quay.io"}, None),
        ("https://a.quay.io", {"HTTPS_PROXY": "http://p", "no_proxy": "quay.io"}, None),
        ("https://aquay.io", {"HTTPS_PROXY": "http://p", "no_proxy": "quay.io"}, "http://p"),
        ("https://quay.io", {"HTTPS_PROXY": "http://p", "no_proxy": "*"}, None),
        ("https://quay.io", {"HTTPS_PROXY": "http://p", "no_proxy": "quay.io:443"}, None),
        ("https://10.1.2.3", {"HTTPS_PROXY": "http://p", "no_proxy": "10.0.0.0/8"}, None),
        ("https://quay.io", {"HTTPS_PROXY": "http://p", "no_proxy": "10.0.0.0/8"}, "http://p"),
        ("https://quay.io", {"ALL_PROXY": "http://p"}, "http://p"),
        ("http://quay.io", {"all_proxy": "p", "http_proxy": "http://q"}, "http://q"),
        ("http://quay.io", {"HTTP_PROXY": "http://q"}, "http://q"),
        ("https://quay.io", {}, None),
    ],
)
def test_proxy_for(url, env, proxy):
    assert proxy_for(Origin.of(url), env) == proxy


def test_proxy_that_is_not_supported():
    with pytest.raises(InvalidOption):
        proxy_for(Origin.of("https://quay.io"), {"HTTPS_PROXY": "socks5://p:1080"})
