"""Own data in one step: what real files hold, and what is written for RecBole."""

import gzip
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recbole_hill import cli
from recbole_hill.config.config import HillConfig
from recbole_hill.data.prepare import delimited, records
from recbole_hill.data.prepare.convert import prepare
from recbole_hill.data.prepare.own import prepare_interactions
from recbole_hill.data.prepare.prepared import require_as_prepared
from recbole_hill.data.prepare.statistics import in_ascii, picture
from recbole_hill.data.prepare.text import as_text
from recbole_hill.data.splits import load_data

NOON = 1_577_880_000  # 2020-01-01 12:00 in UTC


def written(name: str = "d") -> list[list[str]]:
    """Returns the fields of every line of a dataset's file, the header first."""
    text = Path("dataset", name, f"{name}.inter").read_bytes().decode("utf-8")
    assert text.endswith("\n")
    return [line.split("\t") for line in text[:-1].split("\n")]


def source(content: str | bytes, name: str = "rows.csv") -> Path:
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    path = Path(name)
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def rows_of(content: str | bytes, name: str = "rows.csv", **options) -> list[list[str]]:
    """Prepares a file and returns the rows that were written."""
    prepare_interactions(source(content, name), "d", force=True, **options)
    return written()[1:]


# --- files of text -------------------------------------------------------------------------------


def test_semicolons_decimal_commas_and_cp1252(in_tmp):
    text = (
        "Kunde;Artikel;Datum;Sterne;Preis\r\nMüller;Größe 1;31.12.2019 12:00;4,5;1,99\r\n"
        "Maß;x;01.01.2020 12:00;3;2,00\r\n"
    )
    named = {"user": "Kunde", "item": "Artikel", "time": "Datum", "rating": "Sterne"}
    prepared = prepare_interactions(source(text.encode("cp1252")), "d", **named)
    assert written() == [
        ["user_id:token", "item_id:token", "timestamp:float", "rating:float"],
        ["Müller", "Größe 1", str(NOON - 86400), "4.5"],
        ["Maß", "x", str(NOON), "3"],
    ]
    assert "cp1252, separated by ';'" in prepared.summary
    assert "ratings have a decimal comma" in prepared.notes


def test_without_a_header_columns_are_numbers(in_tmp):
    text = "007\ta\t1577880000\n7\tb\t1577880001\n"
    prepared = prepare_interactions(source(text, "x.tsv"), "d")
    assert written() == [["user_id:token", "item_id:token"], ["007", "a"], ["7", "b"]]
    assert "no header" in prepared.summary and "user = 1, item = 2 (by their order)" in str(
        prepared
    )
    assert rows_of(text, "x.tsv", time="3", user="2", item="1") == [
        ["a", "007", "1577880000"],
        ["b", "7", "1577880001"],
    ]


def test_quotes_as_csv_means_them(in_tmp):
    text = 'user_id,sku,text\n"a,1","he said ""7""","two\nlines"\nb,7" vinyl,\n'
    assert rows_of(text) == [["a,1", 'he said "7"'], ["b", '7" vinyl']]


def test_a_quote_that_is_never_closed_is_a_character(in_tmp):
    assert rows_of('user,item\nu,"i\nv,j\n') == [["u", '"i'], ["v", "j"]]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_excels_files(in_tmp, encoding):
    text = "CustomerID,StockCode,InvoiceDate\r\n17850,85123A,1/13/2020 8:26\r\n"
    moment = pd.Timestamp("2020-01-13 08:26", tz="UTC").timestamp()
    assert rows_of(text.encode(encoding)) == [["17850", "85123A", f"{moment:.0f}"]]


@pytest.mark.parametrize("separator", ["\t", ";", ",", "|", " ", "::"])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_separators(in_tmp, separator, end):
    text = "\n".join(separator.join(row) for row in (("uid", "movie"), ("1", "a"), ("2", "b")))
    assert rows_of(text, f"x.txt{end}") == [["1", "a"], ["2", "b"]]


def test_a_long_separator_across_reads():
    data = b"1::2::3\n" * 5000
    stream = io.BufferedReader(delimited._Replacing(io.BytesIO(data), b"::", b"|"), 7)
    assert stream.read() == data.replace(b"::", b"|")


def test_ids_stay_as_written(in_tmp):
    ids = ["007", "7", "1.0", "NA", "null", "nan", "None", " u ", "-", "1e5"]
    text = "user,item\n" + "".join(f"{one},i\n" for one in ids) + ",i\nu,\n"
    prepared = prepare_interactions(source(text), "d")
    assert [user for user, _ in written()[1:]] == ids
    assert any("2 rows without a user or an item (line 12, 13)" in note for note in prepared.notes)
    assert (prepared.n_users, prepared.n_items, prepared.n_rows) == (10, 1, 10)


def test_ids_that_recboles_file_cannot_hold(in_tmp):
    text = 'user,item\n"a\tb",i\n"c\nd",i\n'
    assert rows_of(text) == [["a b", "i"], ["c d", "i"]]
    with pytest.raises(ValueError, match=r"user id 'a\\tb' holds a tab.*another id"):
        rows_of(text + "a b,i\n")
    with pytest.raises(ValueError, match=r"item id '\[PAD\]'"):
        rows_of("user,item\nu,[PAD]\n")


def test_lines_are_counted_across_quotes_blank_and_broken_lines(in_tmp):
    good = "".join(f"u{n},i,t\n" for n in range(100))
    text = f'user,item,text\nu,"i","a\nb\nc"\n\nu,j\n,k,t\n{good}'
    prepared = prepare_interactions(source(text), "d")
    notes = [note for note in prepared.notes if note.startswith("left out")]
    assert notes == [
        "left out: 1 rows whose number of fields is not 3 (line 6: 'u,j')",
        "left out: 1 rows without a user or an item (line 7)",
    ]


def test_several_files_of_one_kind(in_tmp):
    Path("many").mkdir()
    source("user,item,day\na,x,2020-01-01\n", "many/1.csv")
    source("user,item,day\n,x,2020-01-01\nb,y,2020-01-01\n", "many/2.csv")
    prepared = prepare_interactions("many", "d", time="day")
    assert [row[:2] for row in written()[1:]] == [["a", "x"], ["b", "y"]]
    assert any("(2.csv, line 2)" in note for note in prepared.notes)
    source("user,thing\n", "many/3.csv")
    with pytest.raises(ValueError, match=r"3.csv has other columns \(user, thing\).*name one file"):
        prepare_interactions("many", "d")


# --- columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        ("who,what", {}, r"no column has a common name for the user.*--user=COLUMN --item=COLUMN"),
        ("user,sku,asin", {}, r"several columns may be the item \(sku, asin\): say --item=COLUMN"),
        ("user,sku", {"item": "skuu"}, r"--item=skuu: .* no such column; did you mean 'sku'\?"),
        ("user,sku", {"item": "3"}, r"--item=3: .* its columns are 'user', 'sku'"),
        ("user,sku", {"user": "1", "item": "user"}, r"--item and --user name one column, 'user'"),
        ("user,item,item", {"item": "item"}, r"2 columns are called 'item'.*--item=2"),
        ("user,item,date,time", {}, r"several columns may be the time.*or --time=none"),
        ("user,item", {"user": "none"}, r"every row needs a user"),
        ("user,item", {"min_rating": 3.0}, r"min_rating 3 needs ratings.*--rating=COLUMN"),
        ("user,item", {"core": 0}, r"core must be an integer >= 1, got 0"),
    ],
)
def test_columns_that_do_not_fit_are_named(in_tmp, header, options, message):
    row = ",".join("abcd"[: header.count(",") + 1])
    with pytest.raises(ValueError, match=message) as error:
        prepare_interactions(source(f"{header}\n{row}\n"), "d", **options)
    assert "\n" not in str(error.value) and not Path("dataset").exists()


@pytest.mark.parametrize(
    "names",
    [
        "user_id,item_id,timestamp,rating",
        "uid,SKU,time,stars",
        "reviewerID,asin,unixReviewTime,overall",
        "Customer ID,Product ID,Order Date,Score",
        "visitor,track_id,played_at,rating",
    ],
)
def test_columns_by_common_names(in_tmp, names):
    assert rows_of(f"x,{names}\n0,u,i,2020-01-01 12:00,4\n") == [["u", "i", str(NOON), "4"]]


# --- times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("2020-01-01T12:00:00Z", "2020-01-01 13:00:00+01:00", "2020-01-01 12:00", "1577880000"),
        *("1577880000000", "1577880000000000", "1577880000000000000", "1577880000.0", "1.57788e9"),
        *("13.01.2020 12:00", "Wed Jan 01 12:00:00 +0000 2020", "01 Jan 2020 12:00:00"),
        *("Jan 1, 2020, 12:00 PM", "2020/01/01 12:00:00", "1/13/2020 12:00 PM"),
    ],
)
def test_forms_of_time(in_tmp, text):
    ((_, _, seconds),) = rows_of(f'user;item;time\nu;i;"{text}"\n')
    assert float(seconds) == NOON + 12 * 86400 * ("13" in text[:5])


def test_days_and_parts_of_seconds(in_tmp):
    rows = "u;a;20200101\nu;b;20200102\n"
    assert [float(row[2]) for row in rows_of(f"user;item;time\n{rows}")] == [
        NOON - 43200,
        NOON + 43200,
    ]
    assert rows_of("user;item;time\nu;a;1577880000250\n")[0][2] == "1577880000.25"


def test_the_rest_of_a_column_tells_day_from_month(in_tmp):
    rows = "".join(f"u,i{day},{day:02d}/02/2020\n" for day in range(1, 20))
    first, *_, last = rows_of(f"user,item,date\n{rows}")
    assert float(last[2]) - float(first[2]) == 18 * 86400
    with pytest.raises(
        ValueError, match=r"'date': day and month cannot be told apart in .*'01/02/2020'"
    ):
        rows_of("user,item,date\nu,i,01/02/2020\n")


def test_unreadable_times_are_named_and_too_many_refused(in_tmp):
    rows = [f"u,i{n},2020-01-{n % 28 + 1:02d},4" for n in range(40)]
    rows[7], rows[9] = "u,i7,soon,4", "u,i9,,4"
    prepared = prepare_interactions(source("\n".join(["user,item,date,stars", *rows])), "d")
    assert (
        "left out: 2 rows whose time cannot be read (line 9: 'soon'; line 11: '')" in prepared.notes
    )
    assert prepared.n_rows == 38
    rows[20] = "u,i20,2020-01-01,many"
    message = r"3 of 40 rows cannot be read, and at most 5%.*line 9: 'soon'.*line 22: 'many'"
    with pytest.raises(ValueError, match=message):
        rows_of("\n".join(["user,item,date,stars", *rows]))
    with pytest.raises(ValueError, match=r"column 'date' holds no times.*\('soon', 'later'\)"):
        rows_of("user,item,date\nu,i,soon\nu,j,later\n")
    assert len(rows_of("user,item,date\nu,i,soon\nu,j,later\n", time="none")) == 2


# --- which rows are kept -------------------------------------------------------------------------


def test_the_first_of_a_pair_in_time_or_in_the_file(in_tmp):
    text = "user,item,time,stars\nu,i,30,1\nu,i,10,2\nu,j,20,3\nu,i,10,4\n"
    assert rows_of(text) == [["u", "i", "10", "2"], ["u", "j", "20", "3"]]
    assert rows_of(text, time="none") == [["u", "i", "1"], ["u", "j", "3"]]
    prepared = prepare_interactions("rows.csv", "d", force=True)
    assert any("2 rows that repeat" in n and "(line 2, 5)" in n for n in prepared.notes)


def test_ratings_below_the_least_one(in_tmp):
    text = "user,item,stars\nu,i,3.9\nu,j,4\nu,k,\nv,i,5\n"
    assert rows_of(text) == [["u", "i", "3.9"], ["u", "j", "4"], ["u", "k", ""], ["v", "i", "5"]]
    assert rows_of(text, min_rating=4) == [["u", "j", "4"], ["v", "i", "5"]]
    with pytest.raises(
        ValueError, match=r"no row is left of 4: 4 rows with no rating of 6 or more"
    ):
        rows_of(text, min_rating=6)


def test_core_falls_until_nobody_has_too_few(in_tmp):
    """x has two rows, but one is of c, who has one: so x goes, and then nobody of it is left."""
    pairs = ["ap", "aq", "bp", "bq", "cx", "ax", "dq"]
    text = "user,item\n" + "".join(f"{u},{i}\n" for u, i in pairs)
    assert rows_of(text, core=2) == [["a", "p"], ["a", "q"], ["b", "p"], ["b", "q"]]


# --- values with types ---------------------------------------------------------------------------


@pytest.fixture
def frame() -> pd.DataFrame:
    """Whole numbers with a missing one, which pandas holds as decimals; times of pandas."""
    return pd.DataFrame(
        {
            "user": [1.0, 2.0, np.nan, 3.0],
            "item": ["007", "NA", "x", "1.0"],
            "time": pd.to_datetime(["2020-01-01 12:00"] * 4),
            "rating": [5, 4, 3, 2],
        }
    )


EXPECTED = [
    ["1", "007", str(NOON), "5"],
    ["2", "NA", str(NOON), "4"],
    ["3", "1.0", str(NOON), "2"],
]


def test_decimals_as_text():
    values = pa.array([1.0, 1.5, None, 0.0, 1e17, float("nan"), 0.1])
    texts = ["1", "1.5", "", "0", "100000000000000000", "", "0.1"]
    assert as_text(values).to_pylist() == texts
    assert as_text(pa.array([7, None, 2**62])).to_pylist() == ["7", "", str(2**62)]
    with pytest.raises(ValueError, match=r"a column of list.* cannot be an id"):
        as_text(pa.array([[1]]))


def test_data_frames(in_tmp, frame):
    prepared = prepare_interactions(frame, "d", item="item")
    assert written()[1:] == EXPECTED and prepared.folder == Path("dataset/d")
    assert any("without a user or an item (row 3)" in note for note in prepared.notes)
    frame["item"] = [7, "NA", "x", 1.0]  # of several types
    prepare_interactions(frame, "d", force=True)
    assert [row[1] for row in written()[1:]] == ["7", "NA", "1"]


def test_a_data_frame_that_changed_is_other_data(in_tmp, frame):
    assert "already" not in str(prepare_interactions(frame, "d"))
    assert str(prepare_interactions(frame, "d")).startswith("already prepared, nothing written")
    frame.loc[0, "rating"] = 1
    with pytest.raises(ValueError, match="made from other files"):
        prepare_interactions(frame, "d")


def test_parquet(in_tmp, frame):
    frame.to_parquet("x.parquet")
    prepare_interactions("x.parquet", "d")
    assert written()[1:] == EXPECTED


@pytest.mark.parametrize("name", ["x.jsonl", "x.json.gz"])
def test_json_lines(in_tmp, frame, name):
    frame["time"] = frame["time"].astype("int64") // 10**6
    frame["text"] = [["a"], {"b": 1}, None, "c"]
    prepare_interactions(source(frame.to_json(orient="records", lines=True), name), "d")
    assert written()[1:] == EXPECTED


def test_json_lines_that_are_broken_or_of_several_types(in_tmp, monkeypatch):
    monkeypatch.setattr(records, "_BLOCK", 100)  # several blocks
    lines = [json.dumps({"user": n, "item": f"i{n}", "rating": n}) for n in range(50)]
    lines[10], lines[20] = (
        '{"user": 10, ',
        json.dumps({"user": "20", "item": "i20", "rating": "20"}),
    )
    prepared = prepare_interactions(source("\n".join(lines), "x.jsonl"), "d")
    assert [row[0] for row in written()[1:]] == [str(n) for n in range(50) if n != 10]
    assert "left out: 1 rows that hold no JSON object (line 11: '{\"user\": 10,')" in prepared.notes
    with pytest.raises(
        ValueError, match=r"line 1 is no JSON object.*accepted is an object per line"
    ):
        rows_of("[1, 2]", "x.json")


# --- public forms --------------------------------------------------------------------------------

JSON_2014 = {"reviewerID": "A1", "asin": "B1", "overall": 4.0, "reviewTime": "x"}
FORMS = [
    ("MovieLens 100k", "u.data", "1\t2\t4\t1577880000\n"),
    ("MovieLens 1M or 10M", "ratings.dat", "1::2::4::1577880000\n"),
    ("MovieLens 20M", "ratings.csv", "userId,movieId,rating,timestamp\n1,2,4.0,1577880000\n"),
    ("2014, ratings only", "b.csv", "A2CX7LUOHB2NDG,0321732944,4.0,1577880000\n"),
    ("2018, ratings only", "b.csv", "0321732944,A2CX7LUOHB2NDG,4.0,1577880000\n"),
    ("2014 or 2018", "r.json.gz", json.dumps({**JSON_2014, "unixReviewTime": 1577880000})),
    (
        "Amazon reviews of 2023",
        "r.jsonl",
        '{"user_id": 1, "asin": "9", "parent_asin": "2", "rating": 4, "timestamp": 1577880000000}',
    ),
    (
        "Yelp reviews",
        "yelp_academic_dataset_review.json",
        '{"user_id": "1", "business_id": "2", "stars": 4.0, "date": "2020-01-01 12:00:00"}',
    ),
    (
        "Gowalla",
        "loc-gowalla_totalCheckins.txt.gz",
        "1\t2020-01-01T12:00:00Z\t30.2\t-97.7\t2\n",
    ),
]
IDS = {"2014, ratings only": ("A2CX7LUOHB2NDG", "0321732944"), "2014 or 2018": ("A1", "B1")}
IDS["2018, ratings only"] = IDS["2014, ratings only"]


@pytest.mark.parametrize(("form", "name", "text"), FORMS)
@pytest.mark.parametrize("zipped", [False, True])
def test_public_forms_are_recognised_by_their_files(in_tmp, form, name, text, zipped):
    Path("src").mkdir()
    path = source(text, f"src/{name}")
    source("anything", "src/README.txt")
    if zipped:
        with zipfile.ZipFile("src.zip", "w") as archive:
            for file in Path("src").iterdir():
                archive.write(file, f"inside/{file.name}")
    prepared = prepare("mine", "src.zip" if zipped else "src")
    header, row = written("mine")
    assert form in prepared.notes[0] and path.name in prepared.notes[0]
    values = dict(zip((field.split(":")[0] for field in header), row, strict=True))
    assert (values["user_id"], values["item_id"]) == IDS.get(form, ("1", "2"))
    assert float(values["timestamp"]) == NOON
    assert float(values.get("rating", 4)) == 4


def test_recboles_files(in_tmp):
    text = 'user_id:token\titem_id:token\trating:float\n"u\ti\t4\nNA\tj\t1\n'
    assert rows_of(text, "x.inter", min_rating=2) == [['"u', "i", "4"]]
    with pytest.raises(ValueError, match=r"d.inter is RecBole's file already: it is ready"):
        prepare_interactions("dataset/d/d.inter", "d", force=True)


# --- in place ------------------------------------------------------------------------------------


def test_what_is_in_place_stays(in_tmp):
    path = source("user,item\nu,i\n")
    first = prepare_interactions(path, "d")
    require_as_prepared(Path("dataset/d"), "d")
    before = Path("dataset/d/d.inter").stat().st_mtime_ns
    again = prepare_interactions(path, "d")
    assert again.summary.endswith(first.summary) and again.n_rows == 1
    assert Path("dataset/d/d.inter").stat().st_mtime_ns == before
    named = prepare_interactions(path, "d", user="user", item="item")  # the columns of before
    assert named.summary == again.summary
    with pytest.raises(ValueError, match=r"made from rows.csv with other core: use --force"):
        prepare_interactions(path, "d", core=1)
    with pytest.raises(ValueError, match=r"made from rows.csv with other columns: use --force"):
        prepare_interactions(path, "d", user="item", item="user")
    Path("dataset/d/d.inter").write_text("damaged")
    with pytest.raises(ValueError, match="has changed since it was prepared"):
        require_as_prepared(Path("dataset/d"), "d")
    assert prepare_interactions(path, "d").summary == first.summary
    assert written()[1:] == [["u", "i"]]


@pytest.mark.parametrize(
    ("file", "text"),
    [("d.inter", "damaged"), ("d.inter", None), ("d.manifest.json", "{}")],
)
def test_the_error_on_a_changed_file_names_the_command_that_mends_it(in_tmp, file, text):
    path = source("user,item\nu,i\n")
    prepare_interactions(path, "d", "own")
    if text is None:
        Path("own/d", file).unlink()
    else:
        Path("own/d", file).write_text(text)
    with pytest.raises(ValueError, match="prepare it again") as error:
        require_as_prepared(Path("own/d"), "d")
    command = re.search(r"recbole-hill (prepare d .*? --output=\S+)", str(error.value))[1]
    assert cli.main(command.replace("PATH", str(path)).split()) == 0
    require_as_prepared(Path("own/d"), "d")


def test_files_that_nobody_prepared_are_not_replaced(in_tmp):
    Path("dataset/d").mkdir(parents=True)
    Path("dataset/d/d.inter").write_text("user_id:token\titem_id:token\n1\t2\n")
    with pytest.raises(ValueError, match="use --force"):
        prepare_interactions(source("user,item\nu,i\n"), "d")
    assert "1\t2" in Path("dataset/d/d.inter").read_text()


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "x.csv", "x.csv is empty"),
        ("user,item\n", "x.csv", "x.csv holds no row"),
        ("one\ntwo\n", "x.csv", r"no separator gives rows of two or more fields \('one'\)"),
        ("user,item\nu,i\n", "x.xlsx", r"x.xlsx holds no file that can be read; accepted are .csv"),
        (b"no gzip", "x.csv.gz.zip", "x.csv.gz.zip is damaged"),
        (b"no parquet", "x.parquet", "x.parquet is no Parquet file"),
    ],
)
def test_files_that_cannot_be_read_are_named(in_tmp, content, name, message):
    with pytest.raises(ValueError, match=message):
        prepare_interactions(source(content, name), "d")
    assert not Path("dataset").exists()


def test_options_are_refused_for_fixed_forms(in_tmp):
    Path("train.txt").write_text("0 1\n")
    with pytest.raises(ValueError, match=r"--core is for interactions.*the form of lightgcn"):
        prepare("mine", ".", core=5)
    with pytest.raises(ValueError, match=r"'gowalla' is of LightGCN's split.*another name"):
        prepare("gowalla", source("user,item\nu,i\n"))


# --- statistics and the commands -----------------------------------------------------------------


def test_picture():
    """Two users, two items: the first user has both, the second one."""
    lines = picture(np.array([0, 0, 1]), np.array([0, 1, 0]))
    assert lines == ["|██|", "|█ |"]
    assert [in_ascii(line) for line in lines] == ["|##|", "|# |"]


def test_prepare_then_run_as_it_says(in_tmp, capsys):
    rows = [f"u{n % 12},s{n * 7 % 11},2020-01-{n % 28 + 1:02d}" for n in range(130)]
    source("\n".join(["customer,sku,ordered_at", *rows]), "orders.csv")
    assert cli.main(["prepare", "shop", "--source=orders.csv"]) == 0
    out = capsys.readouterr().out
    assert "12 users, 11 items, 130 rows" in out or "rows that repeat" in out
    said = out.splitlines()
    assert said[said.index("next:") + 1 :] == [
        "  recbole-hill --model=HILL --dataset=shop",
        "  recbole-hill --model=ItemKNN --dataset=shop",
        "to test on later rows than those of train:",
        "  recbole-hill --model=HILL --dataset=shop --split=global_time",
    ]
    few = ["--topk=[3]", "--valid_metric=NDCG@3", "--state=ERROR"]
    assert cli.main(["--model=ItemKNN", "--dataset=shop", *few]) == 0
    assert "ItemKNN" in capsys.readouterr().out
    assert cli.main(["prepare", "shop", "--source=orders.csv"]) == 0  # in place: said again
    assert capsys.readouterr().out.splitlines()[-5:] == said[said.index("next:") :]
    assert cli.main(["--model=Pop", "--dataset=shop", "--split=global_time", *few]) == 0


def test_without_times_no_split_by_time_is_offered(in_tmp, capsys):
    source("customer,sku\nu,i\n", "orders.csv")
    assert cli.main(["prepare", "shop", "--source=orders.csv"]) == 0
    assert "global_time" not in capsys.readouterr().out


# --- a dataset that is not there, and headers ----------------------------------------------------


def error_of(name: str) -> str:
    with pytest.raises((FileNotFoundError, ValueError)) as error:
        load_data(HillConfig("BPR", name, None, {"state": "ERROR"}))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_dataset_in_another_form_names_the_command(in_tmp):
    Path("dataset/shop").mkdir(parents=True)
    source("user,item\nu,i\n", "dataset/shop/my orders.csv")
    assert "`recbole-hill prepare shop --source='dataset/shop/my orders.csv'`" in error_of("shop")
    source("user,item\nu,i\n", "store.csv")
    assert "`recbole-hill prepare store --source=store.csv`" in error_of("store")


def test_a_dataset_that_is_missing_names_close_ones(in_tmp):
    prepare_interactions(source("user,item\nu,i\n"), "orders")
    assert "did you mean orders? Otherwise write it with `recbole-hill prepare" in error_of("order")
    assert "did you mean gowalla?" in error_of("gowala")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('"user_id:token"\t"item_id:token"', "'\"user_id:token\"' stands in quotes"),
        ("user_id:token\titem_id:id", "'item_id:id' has an unknown type (known are token, float"),
        ("user_id\titem_id", "'user_id' is no name with a type"),
        ("user_id:token,item_id:token", "'user_id:token,item_id:token' is no name with a type"),
        ("user_id:token\titem_id:token\titem_id:float", "'item_id:float' comes twice"),
        ("uid:token\titem_id:token", "no column is called 'user_id'; the columns are uid, item_id"),
    ],
)
def test_headers_are_checked(in_tmp, header, message):
    Path("dataset/d").mkdir(parents=True)
    Path("dataset/d/d.inter").write_text(f"{header}\nu\ti\n")
    found = error_of("d")
    assert found.startswith("dataset/d/d.inter, line 1: ") and message in found
