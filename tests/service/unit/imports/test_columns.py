"""Which columns of ordinary files are read, and which are skipped."""

import gzip
import io

import pytest

from shop.imports import DETECT_ALL, ImportRefusedError, Layout, decompression, preview_file
from shop.imports.source import open_source
from shop.imports.validation import validate_row
from workshed.settings import settings

ADA = ("Ada Lovelace", "ada@example.org")


def validate_rows(content, layout=DETECT_ALL):
    """Return the user or the failure that each row of a file becomes."""
    content = content.encode() if isinstance(content, str) else content
    with open_source(io.BytesIO(content), layout) as source:
        return [validate_row(row, source.table.header) for row in source.rows()]


def people(content, layout=DETECT_ALL):
    return [(row.name, row.email) for row in validate_rows(content, layout)]


def refusal(content, layout=DETECT_ALL):
    with pytest.raises(ImportRefusedError) as caught:
        validate_rows(content, layout)
    return caught.value.reason


def skipped(content, layout=DETECT_ALL):
    return preview_file(io.BytesIO(content.encode()), layout).skipped


@pytest.mark.parametrize(
    ("header", "row", "left_out"),
    [
        ("id,name,email", "7,Ada Lovelace,ada@example.org", ["id"]),
        (
            "customer_id|store_id|first_name|last_name|email|active",
            "1|1|Ada|Lovelace|ada@example.org|1",
            ["customer_id", "store_id", "active"],
        ),
        (
            "Email Address,First Name,Last Name,Address,MEMBER_RATING",
            'ada@example.org,Ada,Lovelace,"1, Old Street",2',
            ["Address", "MEMBER_RATING"],
        ),
        (
            "First Name,Middle Name,Last Name,Labels,E-mail 1 - Label,E-mail 1 - Value",
            "Ada,,Lovelace,* myContacts,Work,ada@example.org",
            ["Middle Name", "Labels", "E-mail 1 - Label"],
        ),
        (
            "Name,Given Name,Family Name,E-mail 1 - Value",
            "Ada Lovelace,Ada,Lovelace,ada@example.org",
            ["Given Name", "Family Name"],
        ),
        ("Vorname;Name;E-Mail-Adresse", "Ada;Lovelace;ada@example.org", []),
        ("Prénom;Nom;Courriel", "Ada;Lovelace;ada@example.org", []),
        ("Nom;Courriel", "Ada Lovelace;ada@example.org", []),
        ("Full Name\tE-mail", "Ada Lovelace\tada@example.org", []),
        ("name,email,", "Ada Lovelace,ada@example.org,", []),
        ("name,email,,,", "Ada Lovelace,ada@example.org", []),
        ("name,email", "Ada Lovelace,ada@example.org,,,", []),
        ("name,email,city,zip", "Ada Lovelace,ada@example.org", ["city", "zip"]),
        ('"name", "email"', '"Ada Lovelace", "ada@example.org"', []),
        ("name; email", "Ada Lovelace; ada@example.org", []),
        ('x; "a,b,c,d"; "name"; "email"', "1; 2; Ada Lovelace; ada@example.org", ["x", "a,b,c,d"]),
        ("Nombre,Apellidos,Correo electrónico", "Ada,Lovelace,ada@example.org", []),
        ("id,id,name,email", "1,2,Ada Lovelace,ada@example.org", ["id", "id"]),
        ("\ufeffname,email\u200b", "Ada Lovelace,ada@example.org", []),
    ],
)
def test_the_columns_of_ordinary_files_are_found_and_the_others_skipped(header, row, left_out):
    content = f"{header}\n{row}\n"

    assert people(content) == [ADA]
    assert skipped(content) == left_out


def test_the_sender_of_a_file_may_name_its_columns():
    content = "Kunde;Email Address;Nick\nLovelace;ada@example.org;Ada\n"

    assert people(content, Layout(email="email address", name="{Nick} {Kunde}")) == [ADA]
    assert people(content, Layout(name="Kunde")) == [("Lovelace", "ada@example.org")]
    assert skipped(content, Layout(name="Kunde")) == ["Nick"]


def test_a_name_without_one_of_its_parts_is_the_others():
    content = "first_name,last_name,email\n,Lovelace,a@example.org\nAda,,b@example.org\n,,c@x.org\n"

    assert people(content) == [
        ("Lovelace", "a@example.org"),
        ("Ada", "b@example.org"),
        (None, None),
    ]
    assert validate_rows(content)[-1].problem == "no name"


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        (
            Layout(email="Mail adress"),
            "line 1: there is no column 'Mail adress' (did you mean 'Mail",
        ),
        (Layout(email=""), "line 1: there is no column ''"),
        (Layout(name="{first} {city}"), "line 1: there is no column 'first'; there are 'name'"),
        (Layout(name="{name"), "line 1: there is no column '{name'"),
        (Layout(name="{name} }"), "'{name} }' has a brace too many"),
    ],
)
def test_a_named_column_that_is_missing_is_reported(layout, reason):
    assert refusal("name,Mail address\nAda,a@example.org\n", layout).startswith(reason)


def test_settings_add_names_of_columns(monkeypatch):
    monkeypatch.setenv("SHOP_IMPORT_EMAIL_COLUMNS", "Kontakt, Zweitkontakt")
    monkeypatch.setenv("SHOP_IMPORT_NAME_COLUMNS", "Mitglied,{Rufname} {Zuname}")
    settings.cache_clear()

    try:
        found = people("Rufname;Zuname;Kontakt;Email\nAda;Lovelace;ada@example.org;x@example.org\n")
    finally:
        monkeypatch.undo()
        settings.cache_clear()

    assert found == [ADA]


def test_a_row_with_more_columns_than_the_header_fails_alone():
    (row,) = validate_rows("name,email\nLovelace, Ada,ada@example.org\n")

    assert (row.problem, row.reason) == ("columns", "3 columns where the header has 2")


def test_a_row_that_ends_before_a_column_that_is_read_fails_alone():
    (row,) = validate_rows("id,name,email\n7,Ada\n")

    assert (row.problem, row.reason) == ("columns", "2 columns where the header has 3")


def test_rows_of_blank_cells_are_no_rows():
    assert people("name,email\n,,\nAda Lovelace,ada@example.org\n , \n,\n") == [ADA]


def test_all_of_a_row_is_kept_where_there_are_more_columns():
    rows = validate_rows("id,name,email\n7,Ada,ada@example.org\n8,,eve@example.org\n")

    assert [(row.cells, row.fields) for row in rows] == [
        (["7", "Ada", "ada@example.org"], None),
        (None, ["8", "", "eve@example.org"]),
    ]
    assert validate_rows("name,email\nAda,ada@example.org\n")[0].cells is None


@pytest.mark.parametrize(
    "name", ["\u200b", "\u3164", "\u2800", "\ufeff\u2060", "\u200d", "\u0301", "A\ufffe", "\uffff"]
)
def test_invisible_names_fail(name):
    (row,) = validate_rows(f"name,email\n{name},ada@example.org\n")

    assert row.problem in ("name", "no name")


def test_the_mark_of_a_file_that_was_appended_is_not_in_a_name():
    assert people("name,email\n\ufeffAda Lovelace,ada@example.org\n") == [ADA]


def test_a_file_that_gzip_has_packed_is_read():
    content = b"name,email\nAda Lovelace,ada@example.org\n"

    assert people(gzip.compress(content)) == [ADA]
    assert people(gzip.compress(content[:11]) + gzip.compress(content[11:])) == [ADA]


def test_a_packed_file_that_is_damaged_or_too_large_is_refused(monkeypatch):
    packed = gzip.compress(b"name,email\n" + b"Ada,ada@example.org\n" * 1_000)

    assert refusal(packed[:-9]).startswith("its gzip data are damaged: ")
    assert refusal(packed[:20] + b"\0\0\0" + packed[23:]).startswith("its gzip data are da")
    monkeypatch.setattr(decompression, "MAX_BYTES", 20_000)
    assert refusal(packed) == "it has more than 20000 bytes once it is unpacked"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "it is a PDF; open the table"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html><html>", "it is a web page (HTML)"),
        (b"<table><tr><td>name", "it is a web page (HTML)"),
        (b'[{"name": "Ada", "email": "a@example.org"}]', "it is JSON; export it as CSV"),
        (b'{\n  "people": []}', "it is JSON; export it as CSV"),
        (b"{\\rtf1\\ansi name", "it is a document in RTF"),
        (b'<?xml version="1.0"?><people/>', "it is XML"),
        (b"PK\x03\x04\x14", "it is a workbook of a spreadsheet, or a ZIP archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "it is a workbook of a spreadsheet"),
        (gzip.compress(b"%PDF-1.7\n", mtime=0), "it is a PDF"),
        (b"\x89PNG\r\n\x1a\n", "it is an image (PNG)"),
        (b"BZh91AY&SY", "it is packed with bzip2"),
        (b"people.csv".ljust(257, b"\0") + b"ustar\0", "it is an archive (tar)"),
    ],
)
def test_a_file_that_is_no_csv_is_refused_in_words(content, reason):
    assert refusal(content).startswith(reason)


def test_a_preview_shows_what_an_import_would_do():
    rows = [f"{n},Person {n},p{n}@example.org" for n in range(6)]
    wrong = ["6,,x@example.org", "7,Ada,P1@Example.org", "8,,y@example.org"]
    content = "\n".join(["id,name,email", *rows, *wrong]).encode()

    found = preview_file(io.BytesIO(content))

    assert (found.encoding, found.is_guess, found.delimiter) == ("utf-8", False, ",")
    assert (found.name, found.email, found.skipped) == ("name", "email", ["id"])
    assert found.people == [(f"Person {n}", f"p{n}@example.org") for n in range(5)]
    assert (found.rows, found.valid_rows) == (9, 6)
    assert [(kind.problem, kind.rows, kind.line, kind.reason) for kind in found.problems] == [
        ("no name", 2, 8, "the name is missing"),
        ("duplicate", 1, 9, "line 3 has the same address"),
    ]
