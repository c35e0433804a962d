"""Files as other programs write them: read right, or refused with the file and the line."""

import gzip

import numpy as np
import pytest

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
SETTINGS = {"topk": [3], "valid_metric": "NDCG@3", "state": "ERROR"}
SETTINGS |= {"load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}}
BY_TIME = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}


def rows(users=("u", "v", "w", "x")) -> list[tuple]:
    """Returns six of eight items per user, at rising times."""
    return [
        (user, f"i{item}", 4, 1_700_000_000 + 100 * number + item)
        for number, user in enumerate(users)
        for item in range(8)
        if (item + number) % 4
    ]


def text(lines, header=HEADER, end="\n") -> str:
    return end.join([header, *("\t".join(map(str, line)) for line in lines), ""])


@pytest.fixture
def found(in_tmp):
    """Returns a function that writes the file and returns the <user, item> pairs that are read."""

    def read(content: str | bytes, **changes) -> set:
        path = in_tmp / "dataset" / "d" / "d.inter"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        data = load_data(HillConfig("BPR", "d", None, {**SETTINGS, **changes}))
        ids = (
            data.dataset.field2id_token[field][
                np.concatenate(
                    [
                        loader._dataset.inter_feat[field].numpy()
                        for loader in (data.train, data.valid, data.test)
                    ]
                )
            ].tolist()
            for field in ("user_id", "item_id")
        )
        return set(zip(*ids, strict=True))

    return read


PAIRS = {row[:2] for row in rows()}
TURNED = "timestamp:float\titem_id:token\tuser_id:token\trating:float"


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + text(rows()).encode(),  # a byte order mark
        text(rows(), end="\r\n"),
        text(rows(), end="\r"),
        text([(t, item, user, r) for user, item, r, t in rows()], TURNED),
        text(
            [(r, t, u, i) for u, i, r, t in rows()],
            "rating:float\ttimestamp:float\tuser_id:token\titem_id:token",
            "\r\n",
        ),
        text([(*row, "") for row in rows()]),  # a tab at the end of each line
        text(rows()).replace("\n", "\n\n"),
        text(rows())[:-1],
    ],
    ids=["mark", "crlf", "cr", "other order", "crlf after an id", "tab", "empty lines", "no end"],
)
def test_what_other_programs_write_is_read_alike(found, content):
    assert found(content) == PAIRS


@pytest.mark.parametrize(
    "users",
    [
        (" v", "v", "v ", "v\u00a0", "V"),
        ("007", "7", "7.0", "7e0", "+7"),
        ("u" * 100_000, "\u2028", "#u", "\u00e9", "e\u0301"),
    ],
)
def test_ids_are_text_and_kept_as_they_are(found, users):
    assert found(text(rows(users))) == {row[:2] for row in rows(users)}


def test_another_encoding_is_read_if_it_is_named(found):
    users = ("caf\u00e9", "v", "w")
    for encoding in ("latin-1", "utf-16"):
        content = text(rows(users)).encode(encoding)
        assert found(content, encoding=encoding) == {row[:2] for row in rows(users)}
    with pytest.raises(ValueError, match="encoding must be a name such as utf-8, got 'latin-x'"):
        found(content, encoding="latin-x")


def changed(place: int, *values) -> str:
    """Returns the file with other fields in one of the rows, which is on line ``place + 2``."""
    lines = rows()
    lines[place] = values
    return text(lines)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (text(rows(("u", "caf\u00e9"))).encode("latin-1"), "line 8 is no text in utf-8; accepted"),
        (text(rows()).encode("utf-16"), "is no text in utf-8; accepted"),
        (gzip.compress(text(rows()).encode()), "is compressed; accepted is plain text"),
        (changed(3, "u\0", "i1", 4, 1), "line 5: a zero byte"),
        (changed(3, "u", "a\tb", 4, 1), "line 5: 5 fields; accepted are 4, as in line 1"),
        (changed(2, "[PAD]", "i1", 4, 1), "line 4: user_id [PAD] is RecBole's mark"),
        (changed(2, "u", "[PAD]", 4, 1), "line 4: item_id [PAD] is RecBole's mark"),
        (changed(1, "u", "i1", "5,0", 1), "line 3: rating:float '5,0' is no number"),
        (changed(1, "u", "i1", 5, "2024-01-02"), "line 3: timestamp:float '2024-01-02' is no num"),
        ("", "line 1: '' is no name with a type; accepted are"),
        (text(rows(), "user_id\titem_id\trating\ttime"), "line 1: 'user_id' is no name with a type"),
        (text(rows(), HEADER.replace("user_id:token", "user_id:int")), "'user_id:int' has an unknown"),
        (text(rows(), HEADER.replace("user_id:token", "user_id:float")), "must be of type token"),
        (text(rows(), HEADER.replace("rating:float", "item_id:token")), "'item_id:token' comes twice"),
        (text(rows()).replace("\t", ","), "separated by '\\t'"),
        (HEADER, "has no row: it ends with line 1"),
        (HEADER + "\n", "has no row with user_id and item_id"),
    ],
)
def test_other_content_is_refused_with_its_line(found, content, said):
    with pytest.raises(ValueError) as error:
        found(content)
    assert str(error.value).startswith("dataset/d/d.inter") and said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed(3, "u", "i9", 4, ""), "line 5: timestamp nan is no time"),
        (changed(3, "u", "i9", 4), "line 5: timestamp nan is no time"),
        (changed(3, "u", "i9", 4, "inf"), "line 5: timestamp inf is no time"),
        (
            changed(3, "u", "i9", 4, 1_700_000_001_000),
            "line 5: timestamp 1700000001000 and line 2: 1700000001 cannot both be seconds or",
        ),
    ],
)
def test_an_order_of_time_needs_a_time_of_one_unit_in_every_row(found, content, said):
    with pytest.raises(ValueError) as error:
        found(content, eval_args=BY_TIME)
    assert said in str(error.value)
    found(content)  # no order of time


@pytest.mark.parametrize("unit", [1000, -1, 1e-9])
def test_any_unit_of_time_gives_the_order(found, unit):
    lines = [(user, item, r, unit * time) for user, item, r, time in rows()]
    assert found(text(lines), eval_args=BY_TIME) == PAIRS
