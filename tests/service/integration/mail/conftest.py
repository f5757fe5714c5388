"""A mail server with scripted replies, and emails to send to it."""

import contextlib
import socket
import ssl
import subprocess
import threading
from datetime import timedelta

import pytest
from psycopg.rows import namedtuple_row

from shop import onboarding, people
from tests.service.variables import variable
from workshed import db
from workshed.contrib.mail import seats
from workshed.contrib.mail.protocol import connection_cache, smtp
from workshed.contrib.mail.protocol.envelope import Envelope
from workshed.contrib.mail.smtp_server import SmtpServer
from workshed.settings import settings

STALL = "stall"
HANG_UP = "hang up"
TEXT = b"Subject: Hi\r\n\r\nHello\r\n"

USUAL = {
    "CONNECT": "220 ready",
    "EHLO": "250-localhost\r\n250 SMTPUTF8",
    "DATA": "354 go ahead",
    "AUTH": "235 welcome",
    "STARTTLS": "220 go ahead",
    "QUIT": "221 bye",
}


class ScriptedServer:
    """Answers each verb, `CONNECT` and `DOT` with the next line of its script.

    `STALL` never answers, and at `TEXT` stops reading; `HANG_UP` closes the connection instead.
    After the script it gives the usual replies. `heard` has all commands, `texts` the text before
    each final dot.
    """

    def __init__(self):
        self.heard = []
        self.texts = []
        self.connections = 0
        self.certificate = None
        self.implicit_tls = False
        self._script = {}
        self._open = []
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "smtp://127.0.0.1:{1}".format(*self._listener.getsockname())
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def says(self, **lines):
        """Add replies to the script: for each verb a line, or a list of lines."""
        self._script |= {v: [said] if isinstance(said, str) else said for v, said in lines.items()}

    def hang_up(self):
        """Close all connections, like a server that restarts."""
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def is_busy(self):
        return any(thread.is_alive() for thread in self._threads[1:])

    def stop(self):
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        self.hang_up()
        for thread in self._threads:
            thread.join()

    def _accept(self):
        with contextlib.suppress(OSError):  # the listener may be shut down
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._open.append(sock)
                self._threads.append(threading.Thread(target=self._serve, args=[sock]))
                self._threads[-1].start()

    def _serve(self, sock):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(sock.close)
            if self.implicit_tls:
                sock = self.certificate.wrap_socket(sock, server_side=True)
                stack.callback(sock.close)
            lines = stack.enter_context(sock.makefile("rb"))
            goes_on = self._answer(sock, "CONNECT")
            while goes_on and (line := lines.readline()):
                self.heard.append(line.decode().rstrip())
                verb = self.heard[-1].split(" ")[0].upper()
                said = self._answer(sock, verb)
                goes_on = said is not None and verb != "QUIT"
                if verb == "DATA" and said == "354":
                    goes_on = self._read_text(lines) and self._answer(sock, "DOT")
                if verb == "STARTTLS":
                    sock = self.certificate.wrap_socket(sock, server_side=True)
                    stack.callback(sock.close)
                    lines = stack.enter_context(sock.makefile("rb"))

    def _answer(self, sock, verb):
        script = self._script.get(verb)
        said = script.pop(0) if script else USUAL.get(verb, "250 ok")
        if said == STALL:
            sock.recv(1)  # wait until the client gives up
        if said in (STALL, HANG_UP):
            return None
        sock.sendall(said.encode() + b"\r\n")
        return said[:3]

    def _read_text(self, lines):
        if self._script.get("TEXT") == [STALL]:
            self._over.wait()
        text = b""
        for line in lines:
            if line == b".\r\n":
                self.texts.append(text)
                return True
            text += line
        return False


@pytest.fixture
def configure(monkeypatch):
    """Change settings for one test."""

    def change(**values):
        for name, value in values.items():
            monkeypatch.setenv(variable(name), value)
        settings.cache_clear()

    return change


@pytest.fixture(autouse=True)
def _hang_up():
    yield
    connection_cache.close_connection()
    seats.process_seats.close()


@pytest.fixture
def scripted():
    """A scripted server for this test, to which `send` sends."""
    server = ScriptedServer()
    yield server
    connection_cache.close_connection()
    server.stop()


@pytest.fixture
def send(scripted):
    """Send an email to the scripted server."""

    def send_one(recipient="ada@example.org", text=TEXT, url=None, wait_s=10, **how):
        envelope = Envelope("hello@workshed.invalid", recipient, text)
        each = None if wait_s is None else timedelta(seconds=wait_s)
        smtp.send_mail(SmtpServer.from_url(url or scripted.url, **how), envelope, each)

    return send_one


@pytest.fixture
def user(database):
    """A user who has just signed up."""
    with db.transaction() as conn:
        return people.create(conn, name="Ada Lovelace", email="ada@example.org")


@pytest.fixture
def claimed(user):
    """The user's welcome email, claimed."""
    with db.transaction() as conn:
        return onboarding.claim_welcome(conn, user.id)


@pytest.fixture
def row(database):
    """Read the row of an email."""

    def read(email_id):
        query = "SELECT * FROM workshed_mail.emails WHERE id = %s"
        with db.transaction() as conn, conn.cursor(row_factory=namedtuple_row) as cur:
            return cur.execute(query, (email_id,)).fetchone()

    return read


@pytest.fixture
def run_out(database):
    """End the claim of an email, as if its time had passed."""

    def end(email_id):
        with db.transaction() as conn:
            conn.execute(
                "UPDATE workshed_mail.emails SET claimed_until = workshed.now() WHERE id = %s",
                (email_id,),
            )

    return end


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that is not trusted yet: (its file, a server's context)."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    request = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        [*request.split(), "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return cert, context
