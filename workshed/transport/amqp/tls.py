"""TLS options in the query of a URL, named as in RabbitMQ's URIs; always with verification."""

import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl

from workshed.errors import SettingsError
from workshed.transport.errors import did_you_mean

TLS_PARAMETERS = ("cacertfile", "certfile", "keyfile", "server_name_indication", "verify")
_CA_REMEDY = "name the authority that signed it as cacertfile"
_HOST_NAME_REMEDY = "use the host name that it is for, or give that as server_name_indication"
REMEDIES = {
    9: "check the clock of this host",
    10: "renew it on the server",
    **dict.fromkeys((18, 19, 20, 21), _CA_REMEDY),
    **dict.fromkeys((62, 64), _HOST_NAME_REMEDY),
}
"""What to do, by OpenSSL's error number (`X509_V_ERR_…`)."""


def tls_options(parts: SplitResult, setting: str, others: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the parameters after `?`: `NAMES`, and `others`.

    Raises `SettingsError` for parameters that are unknown or would have no effect.
    """
    found = dict(parse_qsl(parts.query, keep_blank_values=True))
    scheme, known = parts.scheme, (*TLS_PARAMETERS, *others)
    for name, value in found.items():
        if name not in known:
            hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
            raise SettingsError(f"{setting}: {name} is not known here{hint}")
        if name in TLS_PARAMETERS and not scheme.endswith("s"):
            raise SettingsError(f"{setting}: {name} is for {scheme}s://, this is {scheme}://")
        if not value:
            raise SettingsError(f"{setting}: {name} is empty")
    if found.get("verify", "verify_peer") != "verify_peer":
        raise SettingsError(
            f"{setting}: a certificate is always verified; give the authority that signed it as "
            "cacertfile, and its name, where it is not the host's, as server_name_indication"
        )
    if "keyfile" in found and "certfile" not in found:
        raise SettingsError(f"{setting}: keyfile without a certfile")
    return found


def tls_context(options: Mapping[str, str], setting: str) -> ssl.SSLContext:
    """Trust the CA in `cacertfile`, or the system's; present `certfile` if the server asks.

    Raises `SettingsError` for a file that cannot be used.
    """
    try:
        found = ssl.create_default_context(cafile=options.get("cacertfile"))
    except OSError as err:
        raise _file_error(setting, "cacertfile", options["cacertfile"], err) from None
    if "certfile" in options:
        try:
            # Without a password here, OpenSSL would prompt for a key's password on the terminal.
            found.load_cert_chain(options["certfile"], options.get("keyfile"), password="")
        except OSError as err:
            names = [name for name in ("certfile", "keyfile") if name in options]
            raise _file_error(setting, " or ".join(names), options[names[-1]], err) from None
    return found


def ca_description(options: Mapping[str, str]) -> str:
    """Return which CAs the server's certificate is verified against."""
    return f"TLS by {options.get('cacertfile', 'the CAs of the system')}"


def describe_tls_error(error: ssl.SSLError) -> str:
    """Return why TLS failed, and for a certificate what to do."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS failed: {error.reason or error}"
    said = f"its certificate is refused: {error.verify_message.rstrip('.')}"
    remedy = REMEDIES.get(error.verify_code)
    return said if remedy is None else f"{said}; {remedy}"


def _file_error(setting: str, name: str, file: str, error: OSError) -> SettingsError:
    reason = error.strerror or str(error)
    if isinstance(error, ssl.SSLError):
        reason = f"not PEM, or not of this kind, or a key that has a password ({error.reason})"
    return SettingsError(f"{setting}: {name} {file!r} cannot be used: {reason}")
