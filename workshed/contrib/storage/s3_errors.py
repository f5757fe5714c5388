"""Errors of S3 and its client in our words, because theirs quote requests and signed data."""

import re
from collections.abc import Generator
from contextlib import contextmanager

from workshed.extras import require_extra

with require_extra("s3"):
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from workshed.contrib.storage.errors import StorageError
from workshed.contrib.storage.s3_address import S3Address

NO_BUCKET = "NoSuchBucket"
NO_KEY = "code: NoSuchKey"
REFUSED = (
    "it refuses the credentials, or does not let them do this; they need s3:GetObject, "
    "s3:PutObject, s3:DeleteObject and s3:ListBucket"
)
NO_CREDENTIALS = (
    "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write "
    "s3://key:secret@bucket"
)
REASONS = (
    ("/latest/(api/token|meta-data)", NO_CREDENTIALS),
    ("code: AccessDenied", REFUSED),
    ("(?i)timed ?out", "it does not answer in time; check that it runs, and the network"),
    ("(?i)connection refused", "nothing listens there; start it, or correct the endpoint"),
    ("(?i)dns error|failed to lookup", "the host is unknown; correct region or endpoint"),
    ("(?i)certificate", "its certificate is not trusted"),
    (
        "BadScheme|scheme is not http",
        "the endpoint is not encrypted; name it in the URL as http://",
    ),
    ("BareRedirect|PermanentRedirect", "the bucket is in another region; write ?region=…"),
)


@contextmanager
def translate_errors(address: S3Address) -> Generator[None]:
    """Raise `StorageError` for the client's errors, but `FileNotFoundError` for a missing key."""
    try:
        yield
    except FileNotFoundError as err:
        if NO_BUCKET not in str(err):
            raise
        raise StorageError(str(address), "there is no such bucket; create it") from None
    except (PermissionDeniedError, UnauthenticatedError):
        raise StorageError(str(address), REFUSED) from None
    except BaseError as err:
        if NO_KEY in str(err):  # a bulk deletion reports a missing key this way
            raise FileNotFoundError from None
        raise StorageError(str(address), _describe_error(err)) from None


def _describe_error(error: BaseError) -> str:
    text = str(error)
    for pattern, reason in REASONS:
        if re.search(pattern, text):
            return reason
    status = re.search(r"status(?: code)?: (\d{3})", text)
    code = re.search(r"(?:<Code>|\(code: )(\w{1,50})", text)
    found = " ".join(part.group(1) for part in (status, code) if part)
    return (
        f"it answered {found}"
        if found
        else "it closed the connection, or is not compatible with S3"
    )
