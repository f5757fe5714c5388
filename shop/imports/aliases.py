"""Known names of the columns of people: built-in ones, and those of the settings."""

from shop.settings import settings

# Folded: in lower case, without blanks, hyphens and underscores. The most likely come first.
EMAILS = (
    "email",
    "emailaddress",
    "mail",
    "mailaddress",
    "email1value",  # Google Contacts
    "primaryemail",
    "useremail",
    "contactemail",
    "emailadresse",
    "mailadresse",
    "courriel",
    "adressemail",
    "adresseemail",
    "adresseélectronique",
    "correo",
    "correoelectrónico",
    "correoelectronico",
    "epost",
    "epostadress",
    "indirizzoemail",
    "endereçodeemail",
    "emailadres",
    "adresemail",
)
FULL_NAMES = (
    "name",
    "fullname",
    "displayname",
    "contactname",
    "customername",
    "nomcomplet",
    "nombrecompleto",
    "nomecompleto",
    "vollständigername",
    "volledigenaam",
)
SHORT_NAMES = ("nom", "nombre", "nome", "naam", "navn", "namn")
NAME_PARTS = (
    ("firstname", "lastname"),
    ("givenname", "familyname"),
    ("givenname", "surname"),
    ("firstname", "surname"),
    ("forename", "surname"),
    ("first", "last"),
    ("fname", "lname"),
    ("vorname", "nachname"),
    ("vorname", "familienname"),
    ("vorname", "name"),
    ("prénom", "nom"),
    ("prenom", "nom"),
    ("nombre", "apellidos"),
    ("nombre", "apellido"),
    ("nome", "cognome"),
    ("nome", "sobrenome"),
    ("nome", "apelido"),
    ("voornaam", "achternaam"),
    ("fornavn", "etternavn"),
    ("fornavn", "efternavn"),
    ("förnamn", "efternamn"),
    ("etunimi", "sukunimi"),
    ("imię", "nazwisko"),
    ("imie", "nazwisko"),
)
KNOWN = {*EMAILS, *FULL_NAMES, *SHORT_NAMES, *(part for parts in NAME_PARTS for part in parts)}


def email_aliases() -> list[str]:
    """Return the names that the settings add for the address column."""
    return _split_names(settings().import_email_columns)


def name_aliases() -> list[str]:
    """Return the names, and templates, that the settings add for the name column."""
    return _split_names(settings().import_name_columns)


def _split_names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
