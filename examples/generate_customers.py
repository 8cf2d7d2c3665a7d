"""Writes customers.csv: customers from many countries, and one bad row to fifty good ones.

    python examples/generate_customers.py                                  the shipped 1,224 rows
    python examples/generate_customers.py many.csv --rows 20000            a larger file
    python examples/generate_customers.py many.zip --rows 20000 --files 3  the same in three files

The same words write the same file, byte for byte.
"""

# ruff: noqa: RUF001 - names are written in many scripts

import argparse
import csv
import io
import random
import zipfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

SEED = 20_310_504
ROWS = 1_224
BAD_SHARE = 51
"""One row of so many is bad."""
HEADER = ["id", "name", "email", "country", "signed_up_on", "balance"]

PEOPLE = {
    "DE": (
        ["Jürgen", "Anneliese", "Björn", "Käthe"],
        ["Müller", "Groß", "Schäfer", "von der Heide"],
    ),
    "FR": (["Éloïse", "François", "Zoé", "Jean-Luc"], ["Lefèvre", "D'Artagnan", "Benoît", "Çelik"]),
    "ES": (["Íñigo", "María José", "Ángel"], ["Muñoz", "García-Pérez", "Núñez"]),
    "IE": (["Seán", "Aoife", "Niamh"], ["O'Connor", "Ní Dhomhnaill", "McCarthy, Jr."]),
    "PL": (["Łukasz", "Grażyna", "Świętosława"], ["Wójcik", "Żółkiewska", "Dąbrowski"]),
    "TR": (["İbrahim", "Ayşe", "Gülşen"], ["Yıldız", "Öztürk", "Çakır"]),
    "GR": (["Αλέξανδρος", "Ελένη"], ["Παπαδόπουλος", "Ιωάννου"]),
    "UA": (["Олександр", "Їванна"], ["Шевченко", "Ґудзь"]),
    "IL": (["נועה", "דוד"], ["כהן", "לוי"]),
    "EG": (["محمد", "ليلى"], ["عبد الرحمن", "حسن"]),
    "IN": (["अर्जुन", "लक्ष्मी"], ["शर्मा", "अय्यर"]),
    "CN": (["小明", "丽华"], ["王", "欧阳"]),
    "JP": (["さくら", "健太郎"], ["佐藤", "小鳥遊"]),
    "KR": (["지훈", "서연"], ["김", "황보"]),
    "VN": (["Nguyệt", "Đức"], ["Nguyễn", "Trần"]),
    "US": (['Robert "Bob"', "Kay 🌻"], ["Smith", "Null"]),
}


def main() -> None:
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    here = Path(__file__).parent / "customers.csv"
    words.add_argument("file", type=Path, nargs="?", default=here, help="a .csv or a .zip")
    words.add_argument("--rows", type=int, default=ROWS, help="in all, 200 or more a file")
    words.add_argument("--files", type=int, default=1, help="CSV files of a .zip")
    given = words.parse_args()
    if given.rows < 200 * given.files:
        words.error("200 rows a file, or more")
    if given.file.suffix == ".zip":
        write_archive(given.file, given.rows, given.files)
    else:
        given.file.write_text(text_of(given.rows), encoding="utf-8", newline="")
    print(f"{given.file}: {given.rows:,} rows")


def write_archive(path: Path, rows: int, files: int) -> None:
    """The rows in several files; no customer stands in two of them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for place in range(files):
            begin, end = rows * place // files, rows * (place + 1) // files
            # A moment of its own would make each archive another one.
            member = zipfile.ZipInfo(f"customers-{place + 1}.csv", (2031, 5, 4, 0, 0, 0))
            archive.writestr(member, text_of(end - begin, first=begin + 1), zipfile.ZIP_DEFLATED)


def text_of(count: int, first: int = 1) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(rows_of(count, first))
    return file.getvalue()


def rows_of(count: int, first: int) -> Iterator[list[str]]:
    """So many rows, good ones and bad ones, with ids from the first on."""
    chance = random.Random(SEED + first - 1)  # noqa: S311 - it keeps no secret
    good = count - count // BAD_SHARE
    rows = [good_row(chance, number) for number in range(first, first + good)]
    for row in bad_rows(chance, first, count - good, first + good):
        rows.insert(chance.randrange(100, len(rows)), row)
    yield from rows


def good_row(chance: random.Random, number: int) -> list[str]:
    country = chance.choice(list(PEOPLE))
    first, last = (chance.choice(names) for names in PEOPLE[country])
    name = f"{last}{first}" if country in {"CN", "KR"} else f"{first} {last}"
    signed_up = date(2015, 1, 1) + timedelta(days=chance.randrange(4_000))
    balance = f"{chance.randrange(500_000) / 100:.2f}"
    email = f"customer{number}@{country.lower()}.example.com"
    return [str(number), name, email, country, signed_up.isoformat(), balance]


def bad_rows(chance: random.Random, first: int, count: int, number: int) -> list[list[str]]:
    """Rows of six kinds, the same number of each, with ids from this number on."""
    rows = [good_row(chance, number + place) for place in range(count)]
    for place, row in enumerate(rows):
        match place % 6:
            case 0:  # the email is missing
                row[2] = ""
            case 1:  # the email is malformed
                row[2] = row[2].replace("@", chance.choice([" at ", "@@", ""]))
            case 2:  # no such day
                row[4] = chance.choice(["2023-02-30", "31/12/2020", "yesterday"])
            case 3:  # the id of another customer, who stands before it
                row[0] = str(chance.randrange(first, first + 89))
            case 4:  # the line ends too soon
                del row[chance.randrange(2, 5) :]
            case _:  # less than nothing
                row[5] = f"-{row[5]}"
    return rows


if __name__ == "__main__":
    main()
