"""Writes customers.csv: 1,200 customers from many countries, and 24 rows that are bad.

The same seed writes the same file, byte for byte: python examples/generate_customers.py [FILE]
"""

# ruff: noqa: RUF001 - names are written in many scripts

import csv
import random
import sys
from datetime import date, timedelta
from pathlib import Path

SEED = 20_310_504
GOOD = 1_200
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


def main(path: Path) -> None:
    chance = random.Random(SEED)  # noqa: S311 - it keeps no secret
    rows = [good_row(chance, number) for number in range(1, GOOD + 1)]
    for row in bad_rows(chance):
        rows.insert(chance.randrange(100, len(rows)), row)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(rows)
    print(f"{path}: {len(rows)} rows")


def good_row(chance: random.Random, number: int) -> list[str]:
    country = chance.choice(list(PEOPLE))
    first, last = (chance.choice(names) for names in PEOPLE[country])
    name = f"{last}{first}" if country in {"CN", "KR"} else f"{first} {last}"
    signed_up = date(2015, 1, 1) + timedelta(days=chance.randrange(4_000))
    balance = f"{chance.randrange(500_000) / 100:.2f}"
    email = f"customer{number}@{country.lower()}.example.com"
    return [str(number), name, email, country, signed_up.isoformat(), balance]


def bad_rows(chance: random.Random) -> list[list[str]]:
    """Four rows of each of six kinds."""
    rows = [good_row(chance, GOOD + place) for place in range(1, 25)]
    for place, row in enumerate(rows):
        match place % 6:
            case 0:  # the email is missing
                row[2] = ""
            case 1:  # the email is malformed
                row[2] = row[2].replace("@", chance.choice([" at ", "@@", ""]))
            case 2:  # no such day
                row[4] = chance.choice(["2023-02-30", "31/12/2020", "yesterday"])
            case 3:  # the id of another customer, who stands before it
                row[0] = str(chance.randrange(1, 90))
            case 4:  # the line ends too soon
                del row[chance.randrange(2, 5) :]
            case _:  # less than nothing
                row[5] = f"-{row[5]}"
    return rows


if __name__ == "__main__":
    here = Path(__file__).parent
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else here / "customers.csv")
