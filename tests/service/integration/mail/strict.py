"""Typical mail servers: each refuses for a while what it accepts later."""

import asyncio
import threading
import time

from workshed.devserver.mail import ACCEPTED_REPLY, MailCatcher

DAY_S = 86_400


class Greylisting(MailCatcher):
    """Accepts emails for an address only 300 s after the first attempt."""

    def __init__(self, maildir, *, wait_s=300):
        super().__init__(maildir)
        self.wait_s = wait_s
        self.first = {}

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        since = self.first.setdefault(address, time.time())
        if time.time() - since < self.wait_s:
            self.attempts.append(address)
            return "450 4.2.0 Greylisted, come back in 300 seconds"
        return await super().handle_RCPT(server, session, envelope, address, options)


class Quota(MailCatcher):
    """Accepts a limited number of emails a day."""

    def __init__(self, maildir, *, a_day):
        super().__init__(maildir)
        self.a_day = a_day
        self.taken = []

    async def handle_MAIL(self, server, session, envelope, address, options):  # noqa: N802
        if sum(time.time() - at < DAY_S for at in self.taken) >= self.a_day:
            return "452 4.3.1 Daily quota exceeded"
        return await super().handle_MAIL(server, session, envelope, address, options)

    async def handle_DATA(self, conversation, session, envelope):  # noqa: N802
        self.taken.append(time.time())
        return await super().handle_DATA(conversation, session, envelope)


class Narrow(MailCatcher):
    """Accepts six connections at a time, and answers 421 to the next."""

    def __init__(self, maildir, *, most=6):
        super().__init__(maildir)
        self.most = most
        self.open = self.widest = self.refused = 0

    def add_session(self, conversation):
        super().add_session(conversation)
        self.open += 1
        if self.open > self.most:
            self.refused += 1
            conversation.transport.write(b"421 4.7.0 Too many connections\r\n")
            conversation.transport.close()
        self.widest = max(self.widest, self.open)

    def remove_session(self, conversation):
        super().remove_session(conversation)
        self.open -= 1

    async def handle_DATA(self, conversation, session, envelope):  # noqa: N802
        await asyncio.sleep(0.02)
        return await super().handle_DATA(conversation, session, envelope)


class Slow(MailCatcher):
    """Answers RCPT only when a test allows it."""

    def __init__(self, maildir):
        super().__init__(maildir)
        self.looks = threading.Event()
        self.answers = threading.Event()

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        self.looks.set()
        await asyncio.to_thread(self.answers.wait)
        return await super().handle_RCPT(server, session, envelope, address, options)


class Thorough(MailCatcher):
    """Delays its acceptance of an email until a test allows it."""

    def __init__(self, maildir):
        super().__init__(maildir)
        self.looks = threading.Event()
        self.answers = threading.Event()

    async def handle_DATA(self, conversation, session, envelope):  # noqa: N802
        self._store(envelope)
        self.looks.set()
        await asyncio.to_thread(self.answers.wait)
        return ACCEPTED_REPLY
