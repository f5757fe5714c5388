"""Misbehaviour of a source over a socket, and how each kind is classified."""

import gzip
import socket
import ssl
import threading
import time
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from shop.demo.faulty_api import FAULTS, FaultyApi, build_bomb
from shop.sync.client import GzipDecoder, request_json, tls_context
from shop.sync.errors import (
    CertificateError,
    ForbiddenAddressError,
    ForeignRedirectError,
    OversizedAnswerError,
    RefusedRequestError,
    SourceBusyError,
    SourceError,
    SourceFailedError,
    SourceTimeoutError,
    SourceUnreachableError,
    TruncatedAnswerError,
    WrongAnswerError,
)

MEANING = {
    "429:7": SourceBusyError,
    "429": SourceBusyError,
    "429-until:90": SourceBusyError,
    "503:7": SourceBusyError,
    "503": SourceFailedError,
    "500": SourceFailedError,
    "502": SourceFailedError,
    "408": SourceFailedError,
    "425": SourceFailedError,
    "300": WrongAnswerError,
    "304": WrongAnswerError,
    "400": RefusedRequestError,
    "401": RefusedRequestError,
    "403": RefusedRequestError,
    "404": RefusedRequestError,
    "410": RefusedRequestError,
    "silent": SourceTimeoutError,
    "drip": SourceTimeoutError,
    "drip-body": SourceTimeoutError,
    "hang-up": SourceUnreachableError,
    "reset": SourceUnreachableError,
    "garbage": SourceUnreachableError,
    "cut": TruncatedAnswerError,
    "cut-chunked": TruncatedAnswerError,
    "cut-json": TruncatedAnswerError,
    "cut-gzip": TruncatedAnswerError,
    "html": WrongAnswerError,
    "empty": WrongAnswerError,
    "brotli": WrongAnswerError,
    "no-gzip": WrongAnswerError,
    "bomb": OversizedAnswerError,
    "endless": OversizedAnswerError,
    "redirect:http://127.0.0.1:1/": ForeignRedirectError,
    "redirect:https://example.org/": ForeignRedirectError,
    "redirect://169.254.169.254/latest/meta-data": ForeignRedirectError,
    "redirect:http://[::1]:80@evil/": ForeignRedirectError,
    "redirect:gopher://127.0.0.1": ForeignRedirectError,
    "redirect:https://[": ForeignRedirectError,
}
JUDGED_LATER = {
    "bad-id", "all-bad", "overlong", "no-total", "gzip-members",
    "list", "nan", "wrong-type", "other-id", "nul", "no-next", "same-cursor", "first-again",
    "short", "fewer", "nothing", "twice", "redirect",
}  # fmt: skip


@pytest.fixture
def authority(tmp_path, use):
    """A certificate authority that is trusted for sources."""
    found = trustme.CA()
    found.cert_pem.write_to_path(tmp_path / "ca.pem")
    use(SYNC_CA_FILE=str(tmp_path / "ca.pem"))
    return found


@pytest.fixture
def serve(use):
    """`with serve(certificate) as api`: a source over TLS."""

    def start(certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return FaultyApi(tls=context)

    return start


def fetch(api, path="records"):
    return request_json("crm", api.origin, path)


@pytest.mark.parametrize("fault", MEANING)
def test_each_way_to_go_wrong_has_its_meaning(api, use, fault):
    if MEANING[fault] is SourceTimeoutError:
        use(SYNC_TIMEOUT="0.3")  # other faults need no short timeout
    api.queue_faults(fault)

    with pytest.raises(SourceError) as caught:
        fetch(api)

    assert type(caught.value) is MEANING[fault]
    assert str(caught.value).startswith("crm: ")
    assert "sesame" not in str(caught.value)


def test_no_way_to_go_wrong_is_left_out():
    assert {fault.partition(":")[0] for fault in MEANING} | JUDGED_LATER == set(FAULTS)


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [("429:7", 7), ("503:0", 1), ("429:99999999999", 86_400), ("429:1e3", None)],
)
def test_it_says_when_to_come_again(api, fault, seconds):
    api.queue_faults(fault)

    with pytest.raises(SourceError) as caught:
        fetch(api)

    delay = getattr(caught.value, "delay", None)
    assert delay == (None if seconds is None else timedelta(seconds=seconds))


def test_it_may_say_it_as_a_date(api):
    api.queue_faults("429-until:90")

    with pytest.raises(SourceBusyError) as caught:
        fetch(api)

    assert timedelta(seconds=80) < caught.value.delay < timedelta(seconds=91)


def test_a_redirect_on_the_same_server_is_followed(api):
    api.put("a")
    api.queue_faults("redirect:/records/a", f"redirect:{api.origin}/records/a")

    assert fetch(api)["id"] == "a"


def test_redirects_do_not_go_round(api):
    api.queue_faults(*["redirect"] * 9)

    with pytest.raises(WrongAnswerError, match="redirects"):
        fetch(api)
    assert len(api.requests) == 4


def test_a_body_of_several_members_of_gzip_is_whole(api):
    """The chunks of the body do not matter, even if one ends where a member does."""
    api.put("a", data={"text": "x" * 1000})
    api.queue_faults("gzip-members")

    assert fetch(api, "records/a")["data"] == {"text": "x" * 1000}


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_members_may_be_cut_into_pieces_anywhere(size):
    body = gzip.compress(b"[1, ") + gzip.compress(b"") + gzip.compress(b"2]") + bytes(3)
    unfold = GzipDecoder("crm")

    found = b"".join(unfold.decode(body[at : at + size], 100) for at in range(0, len(body), size))

    assert (found, unfold.is_complete) == (b"[1, 2]", True)


def test_a_truncated_second_member_is_reported():
    unfold = GzipDecoder("crm")

    unfold.decode(gzip.compress(b"[1, ") + gzip.compress(b"2]")[:-4], 100)

    assert not unfold.is_complete


@pytest.mark.parametrize("status", ["300", "304"])
def test_a_redirect_that_leads_nowhere_is_reported_and_not_retried(api, status):
    api.queue_faults(status)

    with pytest.raises(WrongAnswerError, match=f"{status} .* leads nowhere"):
        fetch(api)
    assert len(api.requests) == 1


def test_a_dripping_answer_ends_with_the_exchange(api, use):
    """The exchange takes too long, not a single byte: the timeout is 20 times the pause."""
    use(SYNC_TIMEOUT="1")
    api.queue_faults("drip", "drip-body")

    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(SourceTimeoutError):
            fetch(api)
        assert 5 < time.monotonic() - began < 60


@pytest.mark.parametrize("fault", ["bomb", "endless"])
def test_an_oversized_answer_is_never_in_memory(api, use, fault):
    use(SYNC_MAX_BYTES="100000")
    api.queue_faults(fault)
    assert len(build_bomb()) < 100_000  # made before memory is measured

    tracemalloc.start()
    try:
        with pytest.raises(OversizedAnswerError, match="100000 bytes"):
            fetch(api)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10_000_000


def test_only_the_token_of_the_source_is_shown(api, use):
    use(SYNC_TOKENS="other=sesame")

    with pytest.raises(RefusedRequestError, match="401"):
        fetch(api)


def test_nothing_of_the_environment_is_used(api, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login x password y\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:1")

    assert fetch(api)["total"] == 0


# Certificates


def test_a_certificate_of_a_known_authority_is_good(authority, serve, use):
    with serve(authority.issue_cert("127.0.0.1")) as api:
        use(SYNC_ORIGINS=api.origin)

        assert fetch(api)["total"] == 0


def test_an_expired_certificate_is_reported(authority, serve, use):
    past = datetime.now(UTC) - timedelta(days=1)
    with serve(authority.issue_cert("127.0.0.1", not_after=past)) as api:
        use(SYNC_ORIGINS=api.origin)

        with pytest.raises(CertificateError, match="has expired"):
            fetch(api)
        assert api.requests == []


def test_a_certificate_of_another_host_is_reported(authority, serve, use):
    with serve(authority.issue_cert("example.org")) as api:
        use(SYNC_ORIGINS=api.origin)

        with pytest.raises(CertificateError, match=r"not valid for '127\.0\.0\.1'"):
            fetch(api)


def test_a_certificate_of_an_unknown_authority_is_reported(authority, serve, use):
    with serve(trustme.CA().issue_cert("127.0.0.1")) as api:
        use(SYNC_ORIGINS=api.origin)

        with pytest.raises(CertificateError, match="unable to get local issuer"):
            fetch(api)


def test_a_certificate_is_checked_for_the_name(authority, serve, use):
    with serve(authority.issue_cert("localhost")) as api:
        origin = f"https://localhost:{api.port}"
        use(SYNC_ORIGINS=f"{origin}=127.0.0.0/8")
        assert tls_context(None) is not None

        assert request_json("crm", origin, "records")["total"] == 0


# Allowed addresses


def test_a_host_that_is_not_allowed_gets_no_request(api, use):
    use(SYNC_ORIGINS="https://api.example.org")

    with pytest.raises(ForbiddenAddressError, match="SHOP_SYNC_ORIGINS"):
        fetch(api)
    assert api.requests == []


@pytest.mark.parametrize("change", ["https", "port", "name"])
def test_another_scheme_port_or_name_is_another_host(api, use, change):
    url = {
        "https": api.origin.replace("http", "https"),
        "port": f"http://127.0.0.1:{api.port + 1}",
        "name": f"http://localhost:{api.port}",
    }[change]

    with pytest.raises(ForbiddenAddressError):
        request_json("crm", url, "records")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.1.1", "0.1.2.3", "100.64.0.1", "::1",
     "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1"],
)  # fmt: skip
def test_a_name_that_leads_inside_is_not_asked(api, use, monkeypatch, address):
    """The name's DNS server may return anything; one forbidden address is enough to refuse it."""
    use(SYNC_ORIGINS=f"http://api.example.org:{api.port}")
    monkeypatch.setattr(socket, "getaddrinfo", names("1.1.1.1", address))
    monkeypatch.setattr(socket, "create_connection", refuse)

    with pytest.raises(ForbiddenAddressError, match="which is not in the public Internet"):
        request_json("crm", f"http://api.example.org:{api.port}", "records")


def test_a_name_is_resolved_once(api, use, monkeypatch):
    """A second answer, after the first was checked, has no effect."""
    use(SYNC_ORIGINS=f"http://api.example.org:{api.port}=127.0.0.1")
    answers = iter([names("127.0.0.1"), names("127.0.0.2")])
    asked = []

    def resolve(host, port, *args, **options):
        if host != "api.example.org":
            return real(host, port, *args, **options)
        asked.append(host)
        return next(answers)(host, port)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    assert request_json("crm", f"http://api.example.org:{api.port}", "records")["total"] == 0
    assert asked == ["api.example.org"]


def test_the_next_address_is_taken_where_one_does_not_answer(api, use, monkeypatch):
    use(SYNC_ORIGINS=f"http://api.example.org:{api.port}=127.0.0.0/8")
    real = socket.getaddrinfo
    answer = names("127.0.0.9", "127.0.0.1")
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: (
            answer(host) if "example" in host else real(host, *rest, **more)
        ),
    )

    assert request_json("crm", f"http://api.example.org:{api.port}", "records")["total"] == 0


def test_a_name_without_an_address_is_tried_again(use):
    use(SYNC_ORIGINS="https://stranger.invalid")

    with pytest.raises(SourceUnreachableError, match=r"stranger\.invalid has no address"):
        request_json("crm", "https://stranger.invalid", "records")


def test_a_closed_port_is_tried_again(use):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{taken.getsockname()[1]}"
        use(SYNC_ORIGINS=origin)

        with pytest.raises(SourceUnreachableError, match="no connection"):
            request_json("crm", origin, "records")


def test_many_threads_may_ask_at_once(api):
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(api))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8


def names(*addresses):
    """Return a function that answers for a name as `getaddrinfo` does."""

    def resolve(*_, **__):
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(families[":" in one], socket.SOCK_STREAM, 6, "", (one, 0)) for one in addresses]

    return resolve


def refuse(*_, **__):
    raise AssertionError("a connection was made")
