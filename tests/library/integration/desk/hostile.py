"""What an attacker may send: values of parameters and fields, ends of addresses, headers."""

from tests.library.integration.desk.planted import EVIL, NOW, SHORT, UUID

VALUES = [
    one if isinstance(one, bytes) else one.encode()
    for one in (
        EVIL, SHORT, UUID, NOW.isoformat(), "", " ", "0", "-1", "1", "00", "1e400", "NaN", "9" * 30,
        "2147483648", "9223372036854775807", "9223372036854775808", "0x10", "٣", "true", "null",
        "1d", "9999999d", "36500d", "-1d", "1h30m", "1e9s", "0.0000001ms", "9" * 400 + "d",
        "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00", "2027-01-31T09:00", "2027-02-30",
        "infinity", "' OR 1=1--", "%s %(x)s %", "{0} {x}", "../../../etc/passwd", "/", "//", "\\",
        "//evil.example", "/\\evil.example", "javascript:alert(1)", "?a=b&c#d", "a=b", "a=", "=b",
        'a="\\ud800"', 'a="\\u0000"', "[", "[1,2", '["a","b"]', "[]", "{}", '{"a":{}}', '"x"',
        "[" * 1_000, '["' + "x" * 3_000 + '"]', "x" * 3_000, "é" * 1_000, "a\r\nSet-Cookie: a=b",
        f'["{NOW.isoformat()}","x",1]', f'["{NOW.isoformat()}","{UUID}"]', '["0001-01-01","x"]',
        '["9999-12-31T23:59:59+23:59","x",2147483647]', "1.5", "99999999999999.99", "dead", "all",
        "default", "yes", "evil", "far", "failed", "low:1", "\u202e", "\ufeff", "\U0001f600",
        "\x1b[31m",
        b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"a\x00b", b"+", b"%", b"%zz", b"\r\n",
    )
]  # fmt: skip
ENDINGS = (
    "/",
    "//",
    ".json",
    ".json/",
    "%00",
    "\x00",
    "\n",
    "/..",
    "/../jobs",
    ";x",
    "?",
    "#",
    "é",
)
ORIGIN = b"http://testserver"
HOSTILE_HEADERS = [
    (b"host", b"evil.example"), (b"host", b"["), (b"host", b""), (b"host", b"a" * 5_000),
    (b"origin", b"http://["), (b"origin", b"null"), (b"origin", b"http://evil.example"),
    (b"origin", b"\xff"), (b"origin", ORIGIN), (b"referer", b"http://["), (b"referer", b"\xff"),
    (b"sec-fetch-site", b"cross-site"), (b"sec-fetch-site", b"same-site"),
    (b"sec-fetch-site", b"x"),
    (b"accept", b"application/json"), (b"accept", b"text/html"), (b"accept", b"\xff, */*;q=x"),
    (b"accept-encoding", b"gzip"), (b"accept-encoding", b"br;q=x, \xff"),
    (b"cookie", b"workshed_console=x; workshed_console_form=\xff"), (b"cookie", b"=; ;;a=b=c\x01"),
    (b"cookie", b"workshed_console=" + b"A" * 4_000), (b"content-type", b"text/plain"),
    (b"content-type", b"\xff"), (b"content-length", b"-1"), (b"content-length", b"9" * 30),
    (b"if-none-match", b"*"), (b"if-modified-since", b"\xff"), (b"range", b"bytes=0-,-1,x"),
    (b"x-forwarded-for", b"203.0.113.7, ["), (b"x-forwarded-proto", b"https"),
    (b"x-workshed-user", b"evil"), (b"x-workshed-role", b"operator"), (b"x_workshed_user", b"evil"),
    (b"x-workshed-secret", b"\xff"), (b"authorization", b"Bearer \xff"),
    (b"authorization", b"Basic"),
    (b"last-event-id", b"x"), (b"x-" + b"y" * 500, b"z" * 5_000), (b"", b""), (b"\xff", b"\x00"),
]  # fmt: skip
