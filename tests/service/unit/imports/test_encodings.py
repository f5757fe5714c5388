"""Files that are not in UTF-8: names are read correctly or the file is refused."""

import io
import random

import pytest

from shop.imports import DETECT_ALL, ImportRefusedError, Layout, LayoutError
from shop.imports.encoding import Encoding
from shop.imports.plausibility import is_western
from shop.imports.source import open_source

WESTERN = {
    "German": "Jürgen Müller, Bärbel Weiß, Björn Schröder, Käthe Groß, Änne Süß, Özlem",
    "French": "Hélène Lefèvre, François Benoît, Loïc Côté, Anaïs Geneviève, Chloé Bègue, Jérôme",
    "Spanish": "José García, Íñigo Núñez, Raúl Ibáñez, Begoña Peña, Ángela Yáñez, Sofía Zúñiga",
    "Portuguese": "João Gonçalves, Conceição Simões, Antônio Araújo, Cauã, Inês Magalhães",
    "Italian": "Nicolò Cassarà, Giosuè Salvà",
    "Danish": "Søren Kjær, Åge Nørgaard, Bjørn Møller, Østen Sæther, Øyvind Børresen",
    "Swedish": "Göran Åberg, Håkan Söderström, Björn Hägg",
    "Finnish": "Päivi Hämäläinen, Väinö Määttä, Yrjö Mäenpää, Sööt Järvenpää",
    "Dutch": "Daniël de Bruyn, Zoë van Dijk, Joëlle Noëmi",
    "Irish": "Seán Ó Briain, Róisín Ní Dhomhnaill, Pádraig O\u2019Brien",
    "capitals": "JÜRGEN MÜLLER, JOSÉ GARCÍA, ANDRÉ FRANÇOIS, SØREN MØLLER",
}
OTHERS = {
    "cp1250": "Jiří Dvořák, Łukasz Żółć, Ružena Hrdličková, Čapek, Řehoř, Erdős, Stępień, Kovačić, "
    "Poznański, Šimůnek, Vlčková, Kubičko, Ondřej, Ričko, Němec, Szűcs, Ćwik, Ştefănescu",
    "iso8859-2": "Jiří Dvořák, Łukasz Żółć, Ondřej Tomčík, Štěpán, Šárka, Erdős, Kovačić, Stępień",
    "cp1251": "Иван Петров, Юлия Щербакова, Олег, Наталія Шевченко, Ivan Петров",
    "koi8-r": "Иван Петров, Юлия Щербакова, Олег, АННА, Ivan Петров",
    "iso8859-5": "Иван Петров, Юлия Щербакова, Олег",
    "cp1253": "Γιώργος Παπαδόπουλος, Ελένη, Άννα",
    "iso8859-7": "Γιώργος Παπαδόπουλος, Ελένη, Άννα",
    "cp1254": "Şahin Yıldız, Aydın Doğan, Işık, Çağlar, İbrahim, Kılıç, Şen, Sarı, Tuğba",
    "iso8859-9": "Şahin Yıldız, Aydın Doğan, Işık, Çağlar, İbrahim, Kılıç, Şen, Sarı, Tuğba",
    "cp1257": "Jānis Bērziņš, Līga Ozoliņa, Ērika, Kęstutis Jonaitė, Žydrūnas, Agnė, Ģirts, Ķirsis",
    "cp1255": "שרה כהן, דוד לוי",
    "cp1256": "محمد علي, فاطمة",
    "shift_jis": "田中 太郎, 鈴木 花子, ﾀﾅｶ, ヤマダ タロウ, 李",
    "euc_jp": "田中 太郎, 鈴木 花子",
    "gb18030": "张伟, 王芳, 李娜, 欧阳 明, 旅",
    "big5": "陳怡君, 林志明, 李, 嚴, 籃, 繆",
    "euc_kr": "김민준, 이서연",
    "mac-roman": "José García, Jürgen Müller, Hélène, Björn, Köhler, Raúl, João, Sirviö, Díaz"
    "Øystein, GARCÍA, MÜLLER, François, Muñoz, Strauß, Chloë",
    "cp850": "José García, Jürgen Müller, Strauß, João Simões, Núñez, Cerdá, François, Søren, "
    "Kõiv, Mõttus, Põder, Íngrid, Íris",
    # Each of these is a plausible name in Windows-1252: `Tóma`, `Uräa`, `Abdiß`, `Kalniña`.
    "mac-latin2": "Tůma, Habšuda, Marťan, Lukša, Urša, Demšar",
    "cp852": "Hršak, Kršanac, Đuro, Urša",
    "mac-turkish": "Abdiş, Başay, Ayşan, Bektaşi",
    "cp775": "Indriķis, Zaķis, Kõiv",
    "iso8859-4": "Kalniņa, Antoņina, Indriķis, Broņislava",
    "mac-iceland": "Addý, Aldný, Aþena",
}


def each(lists):
    return [
        (key, name) for key, names in lists.items() for name in map(str.strip, names.split(","))
    ]


def names(content, layout=DETECT_ALL):
    with open_source(io.BytesIO(content), layout) as source:
        header = source.table.header
        return source.encoding, [header.name.compose(row.fields) for row in source.rows()]


def read(content):
    """Return the names, or the reason why the file is refused."""
    try:
        return names(content)[1]
    except ImportRefusedError as err:
        return err.reason


def refusal(content, layout=DETECT_ALL):
    with pytest.raises(ImportRefusedError) as caught:
        names(content, layout)
    return caught.value.reason


def file_of(name, encoding):
    return f"name,email\nAda,ada@example.org\n{name},x@example.org\n".encode(encoding)


def listed(names, encoding):
    rows = [f"{name},x{n}@example.org\n" for n, name in enumerate(names)]
    return "".join(["name,email\n", *rows]).encode(encoding)


@pytest.mark.parametrize("language", WESTERN)
def test_lists_of_western_names_in_windows_1252_are_read(language):
    of_language = [name for key, name in each(WESTERN) if key == language]

    encoding, found = names(listed(of_language, "cp1252"))

    assert found == of_language
    assert encoding == Encoding("cp1252", is_guess=True)


@pytest.mark.parametrize(("language", "name"), each(WESTERN))
def test_one_name_alone_is_read_or_may_be_of_another_encoding(language, name):
    """For example `Käthe`, which is `Kõthe` in CP850; only the file's owner knows."""
    content = file_of(name, "cp1252")

    found = read(content)

    assert found == ["Ada", name] or "more than one encoding: " in found
    assert names(content, Layout("windows-1252"))[1] == ["Ada", name]


def test_a_list_that_reads_well_in_two_encodings_is_refused_with_both_readings():
    reason = refusal(listed(["Ada", "Kõiv", "Mõttus"], "cp850"))

    assert reason.startswith(
        "line 3, column 'name': the file is not in UTF-8, and all its names may be of more than "
        "one encoding: 'Käiv' in windows-1252; 'Kõiv' in cp850; "
    )
    assert reason.endswith(
        ". Name the one that reads right, as in --encoding windows-1252, or save the file as UTF-8"
    )


def test_a_list_of_names_from_several_countries_is_not_read_wrong_either():
    """No language has the letters of both: `Käiv` and `Öris` would pass as German."""
    assert "'Kõiv' in cp850" in refusal(listed(["Kõiv", "Íris"], "cp850"))


def test_one_name_is_enough_to_tell_them_apart():
    german = ["Käthe"] * 1_000

    assert "'Kõthe' in cp850" in refusal(listed(german, "cp1252"))
    assert names(listed([*german, "Jörg"], "cp1252"))[1] == [*german, "Jörg"]


@pytest.mark.parametrize("language", WESTERN)
def test_ten_western_names_are_nearly_always_enough(language):
    chance = random.Random(7)  # noqa: S311 -- the same in each run
    known = [name for key, name in each(WESTERN) if key == language]

    found = [read(listed(chance.choices(known, k=10), "cp1252")) for _ in range(100)]

    assert sum(isinstance(one, list) for one in found) > 80


@pytest.mark.parametrize(("encoding", "name"), each(OTHERS))
def test_a_name_of_another_encoding_is_right_or_refused_and_never_wrong(encoding, name):
    content = file_of(name, encoding)

    found = read(content)

    assert "--encoding" in found or (found == ["Ada", name] and right(encoding, name))
    assert names(content, Layout(encoding))[1] == ["Ada", name]


def test_most_names_in_another_encoding_are_refused():
    """Otherwise the test above would prove nothing."""
    expected = [name for encoding, name in each(OTHERS) if not right(encoding, name)]

    assert len(expected) > len(each(OTHERS)) * 0.9


def right(encoding, name):
    """Return whether the name is the same, and plausible, in Windows-1252."""
    text = name.encode(encoding).decode("cp1252", "replace")
    return text == name and is_western(text)


@pytest.mark.parametrize(
    ("name", "encoding", "expected"),
    [
        ("Jiří Dvořák", "cp1250", "in windows-1250 it reads 'Jiří Dvořák'"),
        ("Иван Петров", "koi8-r", "in koi8-r it reads 'Иван Петров'"),
        ("田中 太郎", "shift_jis", "in shift_jis it reads '田中 太郎'"),
        ("张伟", "gb18030", "in gb18030 it reads '张伟'"),
        ("José García", "mac-roman", "in mac-roman it reads 'José García'"),
    ],
)
def test_a_refusal_names_the_place_and_possible_encodings(name, encoding, expected):
    reason = refusal(file_of(name, encoding))

    assert reason.startswith("line 3, c")
    assert "the file is not in UTF-8" in reason
    assert "name its encoding (--encoding)" in reason
    assert expected in reason


def test_one_name_that_cannot_be_right_is_enough_however_many_could():
    """For example in a shop in Prague that has some customers in Germany."""
    rows = [f"Jürgen {n},j{n}@example.org" for n in range(5_000)]
    content = "\n".join(["name,email", *rows, "Jiří,x@example.org", ""]).encode("cp1250")

    assert refusal(content).startswith("line 5002, column 'name': the file is not in UTF-8")


def test_only_columns_that_are_read_are_judged():
    content = "name,email,note\nZoë,zoe@example.org,½ £ off ±\n".encode("cp1252")

    assert names(content) == (Encoding("cp1252", is_guess=True), ["Zoë"])


def test_an_address_is_judged_too():
    assert "column 'email'" in refusal("name,email\nAda,jiří@example.org\n".encode("cp1250"))


@pytest.mark.parametrize(
    "name", ["Ju\xa0rez", "D\u2019az", "Mar\u2019a", "\u2019Ada", "Ada\u2019", "Šhler", "é"]
)
def test_signs_that_stand_for_letters_elsewhere_are_not_plausible(name):
    assert not is_western(name)


@pytest.mark.parametrize(
    ("said", "used"),
    [("latin1", "windows-1252"), ("gb2312", "gb18030"), ("cp1250", "windows-1250")],
)
def test_an_encoding_may_be_given_by_any_of_its_names(said, used):
    encoding, _ = names(file_of("Ada", "ascii"), Layout(said))

    assert (encoding.label, encoding.is_guess) == (used, False)


@pytest.mark.parametrize("said", ["utf-9", "base64", "rot13", "idna", "undefined", "", "\0"])
def test_an_invalid_encoding_is_refused_at_once(said):
    with pytest.raises(LayoutError):
        Layout(said)


def test_an_encoding_that_is_given_and_wrong_is_named_with_its_byte():
    assert refusal(file_of("Zoë", "utf-16"), Layout("cp1250")) == (
        "it begins with the mark of utf-16-le, so it is not in cp1250; name no encoding"
    )
    assert refusal(file_of("A\x81", "latin1"), Layout("cp1250")).startswith(
        "line 3, character 2: the byte 0x81 is not valid in windows-1250; save the file as UTF-8"
    )
