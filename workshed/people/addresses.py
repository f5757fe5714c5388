"""E-mail addresses: which are accepted, and how each is written on the wire."""

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

from workshed.people.errors import InvalidAddressError


def normalize(address: str) -> str:
    """Return the one spelling in which an address is stored: the domain lower case, NFC.

    Raises `InvalidAddressError`. Whether the domain takes mail is for its server to say.
    """
    return _parse(address).normalized


def on_the_wire(address: str) -> str:
    """Return the ASCII form where there is one.

    Without one (letters outside ASCII before the @) the server must support SMTPUTF8.
    """
    parsed = _parse(address)
    return parsed.ascii_email or parsed.normalized


def _parse(address: str) -> ValidatedEmail:
    try:
        return validate_email(
            address,
            allow_quoted_local=True,
            check_deliverability=False,
            test_environment=True,  # or `.test` would be refused
        )
    except EmailNotValidError as err:
        raise InvalidAddressError(address, str(err)) from None
