"""Files of people as they arrive: what is read from each, and where an error is."""

import codecs
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.imports import DETECT_ALL, ImportRefusedError, encoding
from shop.imports.csv_reader import MAX_ROW_LENGTH
from shop.imports.source import open_source

USUAL = "name,email\nAda,ada@example.org\n"


def read(content, layout=DETECT_ALL):
    """Return (line, name, address) of each row of a file."""
    with open_source(io.BytesIO(content), layout) as source:
        header = source.table.header
        return [
            (row.line, header.name.compose(row.fields), row.fields[header.email_at])
            for row in source.rows()
        ]


def refusal(content):
    with pytest.raises(ImportRefusedError) as caught:
        read(content)
    return caught.value.reason


@pytest.mark.parametrize(
    "codec",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"],
)
def test_any_usual_encoding_is_recognised(codec):
    content = "name,email\nZoë Łukasz,zoe@example.org\n"
    content = content.replace("Ł", "L") if codec == "cp1252" else content

    rows = read(content.encode(codec))

    assert rows == [(2, content.split("\n")[1].split(",")[0], "zoe@example.org")]


def test_a_letter_of_another_encoding_is_found_also_at_the_end_of_a_large_file():
    rows = [f"Ada {n},ada{n}@example.org\n" for n in range(100_000)]
    content = "".join(["name,email\n", *rows, "Zoë,zoe@example.org\n"])

    assert read(content.encode("cp1252"))[-1] == (100_002, "Zoë", "zoe@example.org")


def test_utf_8_with_a_damaged_letter_is_not_taken_for_another_encoding():
    content = "name,email\nZoë,zoe@example.org\r\nJürgen,".encode() + b"j\xfc@example.org\n"

    assert refusal(content) == (
        "line 3, character 9: the byte 0xfc is not valid in utf-8; save "
        "the file as UTF-8, or name its "
        "encoding (--encoding)"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name,email\nA\x81,a@example.org\n", "line 2, character 2: the file is not in UTF-8"),
        (
            "name,email\n".encode("utf-16") + b"\x41",
            "line 2, character 1: the byte 0x41 is not valid in utf",
        ),
        (b"", "the file is empty"),
        (b"\n\r\n  \n", "the file has nothing but blank lines"),
        (b"PK\x03\x04\x14\x00\x06", "it is a workbook of a spreadsheet, or a ZIP archive; save"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "it is a workbook of a spreadsheet; save it as CSV UTF-8"),
    ],
)
def test_a_file_that_is_no_text_is_refused(content, reason):
    assert refusal(content).startswith(reason)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_wrong_byte_is_found_however_lines_end(monkeypatch, end, mark, size):
    monkeypatch.setattr(encoding, "PIECE_BYTES", size)
    content = f"name,email{end}Zoë,z@example.org{end}{end}ab".encode()

    assert refusal(mark + content + b"\xff\n").startswith("line 4, character 3: the byte 0xff")
    assert refusal(mark + "nä".encode() + b"\xff").startswith("line 1, character 3: the byte 0xff")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_any_usual_delimiter_is_recognised(delimiter):
    content = f'E-Mail{delimiter}Name\nada@example.org{delimiter}"Lovelace, A; b|c\td"\n'

    assert read(content.encode()) == [(2, "Lovelace, A; b|c\td", "ada@example.org")]


def test_a_delimiter_may_be_named_as_excel_does():
    assert read(b"sep=;\r\nname;email\r\nAda;ada@example.org\r\n") == [
        (3, "Ada", "ada@example.org")
    ]


def test_a_row_has_the_number_of_the_line_in_which_it_begins():
    content = 'name,email\r\n"Ada\r\nLovelace",a@example.org\r\n\r\nBob,b@example.org'

    assert read(content.encode()) == [
        (2, "Ada\r\nLovelace", "a@example.org"),
        (5, "Bob", "b@example.org"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_any_way(end):
    content = f"{end}name,email{end}Ada,a@example.org{end}{end}Bob,b@example.org"

    assert [line for line, _, _ in read(content.encode())] == [3, 5]


@pytest.mark.parametrize("header", ["name,email", " Name , E-MAIL ", "NAME,e_mail", "name,e mail"])
def test_a_column_is_known_in_any_usual_spelling(header):
    assert read(f"{header}\nAda,ada@example.org\n".encode()) == [(2, "Ada", "ada@example.org")]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("name,email,Name", "line 1, column 3: 'Name' is there again, after column 1; rename one"),
        (
            "name,emial,city",
            "line 1: there is no column 'email' (did you mean 'emial'?); there are 'name', 'emial'",
        ),
        ("name", "line 1: there is no column 'email'; there are 'name'. The first line must name"),
        ("email,city", "line 1: there is no column 'name'; there are 'email', 'city'. The first"),
        ("line,reason", "line 1: there is no column 'email'"),
        ("Ada,ada@example.org", "line 1: there is no column 'email'; there are 'Ada', 'ada@exam"),
        ("email,first name", "line 1: there is no column 'name'"),
        ("n" * 140_000, "line 1, column 1: the field has more than 131072 characters"),
        ('sep="\nname,email', "line 1: there is no column 'email'; there are 'sep=\"'"),
        ('name,"email', "line 1, column 2: a quotation mark opens here and is not closed"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(header, reason):
    assert refusal(f"{header}\nAda,ada@example.org\n".encode()).startswith(reason)


def test_the_columns_of_the_list_of_failures_are_passed_over():
    content = "line,reason,name,email\n7,the name is missing,Ada,ada@example.org\n"

    assert read(content.encode()) == [(2, "Ada", "ada@example.org")]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (
            'Ada,a@example.org\n"Bob,b@example.org\nCyd,c@example.org\n',
            "line 3, column 'name': a quotation mark opens here and is not closed",
        ),
        (
            'Ada,a@example.org\n"Bob\nB",b@example.org\nCyd,"c@example.org\n',
            "line 5, column 'email': a quotation mark opens here and is not closed",
        ),
        (
            'Ada,a@example.org\n"Bob "B" Bobson",b@example.org\n',
            "line 3, column 'name': a quotation mark is followed by text; write two of them",
        ),
        (
            'Ada,a@example.org,"x" y\n',
            "line 2, column 3: a quotation mark is followed by text; write two of them",
        ),
        (
            f"Ada,{'a' * 200_000}@example.org\n",
            "line 2, column 'email': the field has more than 131072 characters",
        ),
        (
            f"{'a' * 200_000},a@example.org\n",
            "line 2, column 'name': the field has more than 131072 characters",
        ),
        (
            '"' + "Ada Lovelace\n" * 20_000 + '",a@example.org\n',
            "line 2, column 'name': a quotation mark opens here and is not closed within 131072",
        ),
        (
            "Ada,a@example.org\n" + '"' + '","\n' * 400_000,
            "line 3: the row has 1048576 characters and more; is it a CSV",
        ),
        (
            f'Ada,a@example.org\n"{"Bob,b@example.org" * 20_000}\n',
            "line 3, column 'name': a quotation mark opens here and is not closed",
        ),
        (
            f"Ada,{'a' * MAX_ROW_LENGTH}\n",
            "line 2: the row has 1048576 characters and more; is it a CSV",
        ),
    ],
)
def test_violations_of_csv_are_reported_by_line_and_column(rows, reason):
    assert refusal(f"name,email\n{rows}".encode()).startswith(reason)


FIELDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(
    st.lists(st.tuples(FIELDS, FIELDS), max_size=8),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_rows_written_as_csv_are_read(rows, delimiter, codec, end):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("name", "email"), *rows])

    found = read(text.getvalue().encode(codec))

    said = [row for row in rows if any(map(str.strip, row))]
    assert [(name, email) for _, name, email in found] == said


def test_few_fields_of_skipped_columns_are_kept():
    content = b"name,email\n" + b"," * 1_000_000 + b"x\n"

    with open_source(io.BytesIO(content), DETECT_ALL) as source:
        rows = list(source.rows())

    assert [(row.width, row.filled_width, len(row.fields)) for row in rows] == [
        (1_000_001, 1_000_001, 12)
    ]
