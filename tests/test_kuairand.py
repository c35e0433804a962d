"""KuaiRand's CSV files: what is written, what is merged, what is refused, who converts what."""

import csv
import json

import pytest
from features_yaml import columns_of, load_features, read_features

from recbole_hill.cli import main
from recbole_hill.config.config import HillConfig
from recbole_hill.data.prepare import prepared
from recbole_hill.data.prepare.convert import prepare as prepare_any
from recbole_hill.data.prepare.kuairand import LABELS, START_MS, prepare, verify
from recbole_hill.data.splits import create_dataset

LOG = [
    "user_id", "video_id", "date", "hourmin", "time_ms", "is_click", "is_like", "is_follow",
    "is_comment", "is_forward", "is_hate", "long_view", "play_time_ms", "duration_ms",
    "profile_stay_time", "comment_stay_time", "is_profile_enter", "is_rand", "tab",
]  # fmt: skip
USER = [
    "user_id", "user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author",
    "follow_user_num", "follow_user_num_range", "fans_user_num", "fans_user_num_range",
    "friend_user_num", "friend_user_num_range", "register_days", "register_days_range",
    *(f"onehot_feat{number}" for number in range(18)),
]  # fmt: skip
ITEM = [
    "video_id", "author_id", "video_type", "upload_dt", "upload_type", "visible_status",
    "video_duration", "server_width", "server_height", "music_id", "music_type", "tag",
]  # fmt: skip
EARLY, LATE = "log_standard_4_08_to_4_21_pure.csv", "log_standard_4_22_to_5_08_pure.csv"
RANDOM = "log_random_4_22_to_5_08_pure.csv"
USERS, VIDEOS = "user_features_pure.csv", "video_features_basic_pure.csv"
DAY = 86_400_000


def shown(user, video, time, labels="0000", tab=1):
    """A row of a log; labels are click, like, follow and long view."""
    click, like, follow, long_view = labels
    facts = {
        "user_id": user, "video_id": video, "time_ms": START_MS + time, "tab": tab,
        "is_click": click, "is_like": like, "is_follow": follow, "long_view": long_view,
    }  # fmt: skip
    return [facts.get(name, 0) for name in LOG]


def user(number, **facts):
    facts = {"user_active_degree": "full_active", "follow_user_num_range": "(0,10]"} | facts
    return [number, *(facts.get(name, 0) for name in USER[1:])]


def video(number, **facts):
    facts = {"video_type": "NORMAL", "upload_dt": "2022-04-09", "tag": "12"} | facts
    return [number, *(facts.get(name, 1) for name in ITEM[1:])]


def write(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    early = [shown(7, 30, 2 * DAY, "1100"), shown(3, 31, DAY + 1, tab=4)]
    write(folder / EARLY, LOG, early)
    write(folder / LATE, LOG, [shown(3, 30, 20 * DAY, "1001"), shown(7, 31, 20 * DAY)])
    write(folder / RANDOM, LOG, [shown(7, 32, 21 * DAY, "1000")])
    users = [
        user(7, is_live_streamer=-124, onehot_feat4="", onehot_feat12="1.0", fans_user_num=150),
        user(3, is_live_streamer=1, onehot_feat4="5.0", onehot_feat12=""),
    ]
    write(folder / USERS, USER, users)
    videos = [
        video(30, tag="39,68", video_duration="87433.0", music_type="9.0"),
        video(31, tag="", video_duration="", music_type=""),
        video(32, video_type="AD", upload_type="LongImport"),
    ]
    write(folder / VIDEOS, ITEM, videos)
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "dataset"


def table(path):
    """Rows of an atomic file as mappings of column names, and the columns with their types."""
    head, *lines = path.read_text().removesuffix("\n").split("\n")
    names = head.split("\t")
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines], names


def test_impressions_in_order_of_time_with_labels_and_scene(source, out):
    prepare("kuai", source, out)
    rows, names = table(out / "kuai" / "kuai.inter")
    assert names == [
        "user_id:token", "item_id:token", "is_click:float", "is_like:float", "is_follow:float",
        "long_view:float", "timestamp:float", "tab:token",
    ]  # fmt: skip
    assert [tuple(row.values()) for row in rows] == [
        ("3", "31", "0", "0", "0", "0", "86400.001", "4"),
        ("7", "30", "1", "1", "0", "0", "172800.000", "1"),
        ("3", "30", "1", "0", "0", "1", "1728000.000", "1"),
        ("7", "31", "0", "0", "0", "0", "1728000.000", "1"),
    ]
    rows, names_of_random = table(out / "kuai" / "kuai.random.inter")
    assert names_of_random == names
    assert [tuple(row.values()) for row in rows] == [
        ("7", "32", "1", "0", "0", "0", "1814400.000", "1")
    ]


def test_the_time_is_that_of_beijing():
    """An example of the data's documentation: 21 April, 4 o'clock, is 1650485801301 ms."""
    seconds = (1650485801301 - START_MS) / 1000
    assert (seconds // 86400, seconds % 86400 // 3600) == (
        13,
        4,
    )


def test_features_with_their_types(source, out):
    prepare("kuai", source, out)
    users, names = table(out / "kuai" / "kuai.user")
    numbers = {"follow_user_num", "fans_user_num", "friend_user_num", "register_days"}
    assert names == [f"{name}:{'float' if name in numbers else 'token'}" for name in USER]
    assert [row["user_id:token"] for row in users] == ["7", "3"]
    assert [row["is_live_streamer:token"] for row in users] == ["", "1"]
    assert [row["onehot_feat4:token"] for row in users] == ["", "5"]
    assert [row["onehot_feat12:token"] for row in users] == ["1", ""]
    assert [row["fans_user_num:float"] for row in users] == ["150", "0"]
    assert users[0]["follow_user_num_range:token"] == "(0,10]"

    items, names = table(out / "kuai" / "kuai.item")
    kinds = dict(name.split(":") for name in names)
    assert list(kinds) == ["item_id", *(n for n in ITEM[1:] if n != "visible_status")]
    assert {name for name, kind in kinds.items() if kind == "float"} == {
        "video_duration",
        "server_width",
        "server_height",
    }
    assert kinds["tag"] == "token_seq"
    assert [row["tag:token_seq"] for row in items] == ["39 68", "", "12"]
    assert [row["video_duration:float"] for row in items] == ["87433.0", "", "1"]
    assert [row["music_type:token"] for row in items] == ["9", "", "1"]


def test_the_manifest_counts(source, out):
    manifest = prepare("kuai", source, out)
    assert manifest.read == {"standard": 4, "random": 1, "users": 2, "videos": 3}
    assert manifest.impressions == {"standard": 4, "random": 1}
    assert manifest.positives["standard"] == dict(zip(LABELS, (2, 1, 0, 1), strict=True))
    assert (manifest.users, manifest.items) == (2, 2)  # video 32 was shown at random only
    assert manifest.missing == {
        "is_live_streamer": 1, "onehot_feat4": 1, "onehot_feat12": 1,
        "video_duration": 1, "music_type": 1, "tag": 1,
    }  # fmt: skip
    assert set(manifest.sources) == {EARLY, LATE, RANDOM, USERS, VIDEOS}
    assert [*manifest.files] == ["kuai.inter", "kuai.random.inter", "kuai.user", "kuai.item"]
    assert verify(out / "kuai") == manifest
    text = str(manifest)
    assert "standard log: 4 impressions; 50.00% is_click, 25.00% is_like" in text
    assert "features missing: is_live_streamer of 1" in text


def test_without_the_random_log(source, out):
    (source / RANDOM).unlink()
    manifest = prepare("kuai", source, out)
    assert manifest.impressions == {"standard": 4}
    assert not (out / "kuai" / "kuai.random.inter").exists()


def test_copies_of_an_impression_are_one(source, out):
    copies = [
        shown(7, 30, 5 * DAY, "1000", tab=6),
        shown(7, 30, 5 * DAY, "1000", tab=2),  # the same
        shown(3, 30, 5 * DAY, "0000", tab=6),
        shown(3, 30, 5 * DAY, "1001", tab=2),  # other labels
        shown(3, 30, 5 * DAY + 1),  # another millisecond
        shown(3, 31, 5 * DAY),  # another video
    ]
    write(source / EARLY, LOG, copies[:3])
    write(source / LATE, LOG, copies[3:])
    manifest = prepare("kuai", source, out)
    rows, _ = table(out / "kuai" / "kuai.inter")
    columns = ("user_id:token", "item_id:token", "is_click:float", "long_view:float", "tab:token")
    found = [tuple(row[name] for name in columns) for row in rows]
    assert found == [
        ("3", "30", "1", "1", "6"),
        ("3", "31", "0", "0", "1"),
        ("7", "30", "1", "0", "6"),
        ("3", "30", "0", "0", "1"),
    ]
    assert (manifest.read["standard"], manifest.impressions["standard"]) == (6, 4)
    assert manifest.disagreeing == {"standard": 1, "random": 0}
    assert "2 rows were copies of an impression and merged; 1 impressions' copies differ" in str(
        manifest
    )


def test_the_statistics_are_never_read(source, out):
    (source / "video_features_statistic_pure.csv").write_text("not,a\nvalid,file,at all")
    assert "video_features_statistic_pure.csv" not in prepare("kuai", source, out).sources


def test_columns_are_found_by_name(source, out):
    """Another order of the columns, a byte-order mark and Windows line ends change nothing."""
    prepare("kuai", source, out)
    expected = (out / "kuai" / "kuai.inter").read_bytes()
    for file in (EARLY, LATE):
        rows = [line.split(",")[::-1] for line in (source / file).read_text().splitlines()]
        text = "\r\n".join(",".join(row) for row in rows) + "\r\n\r\n"
        (source / file).write_bytes(b"\xef\xbb\xbf" + text.encode())
    prepare("kuai", source, out / "again")
    assert (out / "again" / "kuai" / "kuai.inter").read_bytes() == expected


def test_nothing_is_written_twice(source, out):
    first = prepare("kuai", source, out)
    assert not first.unchanged
    before = (out / "kuai" / "kuai.inter").stat().st_mtime_ns
    again = prepare("kuai", source, out)
    assert again.unchanged and again == first
    assert "nothing written" in str(again)
    assert (out / "kuai" / "kuai.inter").stat().st_mtime_ns == before
    (out / "kuai" / "kuai.item").write_text("damaged")
    assert not prepare("kuai", source, out).unchanged  # written again
    assert verify(out / "kuai") == first


def test_other_data_of_the_name_are_replaced_by_force_only(source, out):
    prepare("kuai", source, out)
    (source / RANDOM).unlink()
    with pytest.raises(ValueError, match=r"made from other files .* use --force"):
        prepare("kuai", source, out)
    prepare("kuai", source, out, force=True)
    assert not (out / "kuai" / "kuai.random.inter").exists()  # the old one would be taken for new
    verify(out / "kuai")


def replaced(source, file, line, values):
    """Puts other values on a line (2 is the first below the header) of a file."""
    with (source / file).open(newline="") as opened:
        rows = list(csv.reader(opened))
    for name, value in values.items():
        rows[line - 1][rows[0].index(name)] = value
    write(source / file, rows[0], rows[1:])


@pytest.mark.parametrize(
    ("file", "line", "values", "problem"),
    [
        (EARLY, 3, {"user_id": 4}, "user_id 4 is not in .*user_features_pure.csv"),
        (LATE, 2, {"video_id": 99}, "video_id 99 is not in .*video_features_basic_pure.csv"),
        (RANDOM, 2, {"user_id": "x"}, "user_id 'x' is not a whole number"),
        (EARLY, 2, {"time_ms": ""}, "time_ms '' is not a whole number"),
        (EARLY, 2, {"time_ms": "0"}, "time_ms 0 is not a time"),
        (EARLY, 2, {"time_ms": "1" * 30}, "time_ms '1{30}' is not a whole number"),
        (EARLY, 2, {"is_like": "2"}, "is_like 2 is not a label; accepted are 0 and 1"),
        (EARLY, 2, {"long_view": ""}, "long_view '' is not a whole number"),
        (EARLY, 2, {"tab": "-1"}, "tab -1 is not a scene"),
        (USERS, 3, {"user_id": "7"}, "user_id 7 is on line 2 already"),
        (USERS, 2, {"user_id": ""}, "user_id '' is not a whole number"),
        (USERS, 2, {"register_days": "old"}, "register_days 'old' is not a number"),
        (USERS, 2, {"register_days": "inf"}, "register_days 'inf' is not a number"),
        (VIDEOS, 4, {"video_type": 'A"D'}, "video_type 'A\"D' holds a tab, a quote"),
    ],
)
def test_a_damaged_value_is_named(source, out, file, line, values, problem):
    replaced(source, file, line, values)
    with pytest.raises(ValueError, match=rf"{file}, line {line}: {problem}"):
        prepare("kuai", source, out)
    assert not out.exists()


@pytest.mark.parametrize("end", ["\n7,30", "\n" + "1," * 19 + "1"])
def test_a_broken_line_is_named(source, out, end):
    path = source / LATE
    path.write_text(path.read_text().rstrip() + end + "\n")
    values = end.count(",") + 1
    problem = rf"{LATE}, line 4: {values} values, expected 19 as in the header"
    with pytest.raises(ValueError, match=problem):
        prepare("kuai", source, out)


def test_a_missing_column_is_named(source, out):
    path = source / EARLY
    path.write_text(path.read_text().replace("long_view", "longview"))
    with pytest.raises(ValueError, match=rf"{EARLY}, line 1: no column 'long_view'; .*longview"):
        prepare("kuai", source, out)


def test_an_empty_log_is_refused(source, out):
    write(source / EARLY, LOG, [])
    with pytest.raises(ValueError, match=f"{EARLY} holds no impression"):
        prepare("kuai", source, out)


@pytest.mark.parametrize("file", [EARLY, LATE, USERS, VIDEOS])
def test_a_missing_file_is_named(source, out, file):
    (source / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{file} does not exist; .*zenodo"):
        prepare("kuai", source, out)


def test_versions_are_not_mixed(source, out):
    write(source / "user_features_1k.csv", USER, [])
    with pytest.raises(ValueError, match=r"several versions of KuaiRand: \['1k', 'pure'\]"):
        prepare("kuai", source, out)


# --- which converter, and what the package makes of the files ------------------------------------


def test_published_counts_are_checked(source, out):
    with pytest.raises(ValueError) as error:
        prepare_any("kuairand-pure", source, out)
    assert "standard 4 (expected 1,436,609), random 1 (expected 1,186,059)" in str(error.value)
    assert "users 2 (expected 27,285), videos 3 (expected 7,583)" in str(error.value)
    with pytest.raises(ValueError, match="'gowalla' is not KuaiRand's"):
        prepare("gowalla", source, out)


def test_the_name_s_yaml_file_chooses_the_converter_then_the_folder(source, out, tmp_path):
    assert prepare_any("kuai", source, out).converter == "kuairand"
    (source / "train.txt").write_text("0 1 2\n")
    (source / "test.txt").write_text("0 3\n")
    with pytest.raises(ValueError, match="not the published split of 'gowalla'"):
        prepare_any("gowalla", source, out)
    split = tmp_path / "split"
    split.mkdir()
    for file in ("train.txt", "test.txt"):
        (source / file).rename(split / file)
    assert prepare_any("mine", split, out).train == 2
    with pytest.raises(FileNotFoundError, match=r"log_standard_4_08_to_4_21_pure\.csv"):
        prepare_any("kuairand-pure", split, out)
    with pytest.raises(ValueError, match="dataset name must be"):
        prepare_any("../kuai", source, out)


def test_the_command_line_prepares_it(source, out, capsys):
    assert main(["prepare", "kuai", f"--source={source}", f"--output={out}"]) == 0
    assert "standard log: 4 impressions" in capsys.readouterr().out
    stored = json.loads((out / "kuai" / "kuai.manifest.json").read_text())
    assert (stored["converter"], stored["start_ms"]) == ("kuairand", START_MS)


def test_a_manifest_beside_a_whole_log_is_no_split(source, out):
    prepare("kuai", source, out)
    config = HillConfig("BPR", "kuai", config_dict={"data_path": str(out), "state": "ERROR"})
    assert not config["benchmark_filename"]


def test_general_recommenders_learn_from_what_was_clicked(source, out):
    """The dataset's own settings leave pairs of ids, of clicks alone, whenever they came."""
    later = [shown(3, 31, 9 * DAY, "1000"), shown(7, 31, 9 * DAY, "0011")]
    write(source / LATE, LOG, later)  # the first, (3, 31), was shown before and not clicked
    settings = prepared.dataset_settings("kuairand-pure")
    del settings["kuairand"]
    prepare("kuai", source, out)
    settings |= {"data_path": str(out), "state": "ERROR", "eval_args": {"split": {"RS": [1, 0, 0]}}}
    train = create_dataset(HillConfig("BPR", "kuai", config_dict=settings)).build()[0]
    rows = train.inter_feat
    assert set(rows.columns) == {"user_id", "item_id"}
    ids = [train.id2token(name, rows[name].numpy()) for name in ("user_id", "item_id")]
    assert set(zip(*ids, strict=True)) == {("7", "30"), ("3", "31")}
    assert train.user_feat is None and train.item_feat is None


def test_labelled_models_read_every_impression_with_its_features(source, out):
    """By properties/features/, over the dataset's own settings that keep the clicks alone."""
    settings = prepared.dataset_settings("kuairand-pure")
    del settings["kuairand"]
    prepare("kuai", source, out)
    settings |= {
        key: value for key, value in read_features("kuairand-pure").items() if key != "tasks"
    }
    dataset = load_features("kuairand-pure", "kuai", data_path=str(out), **settings)
    columns = settings["load_col"]
    assert columns_of(dataset) == {file: set(names) for file, names in columns.items()}
    rows = dataset.inter_feat
    assert rows["is_click"].tolist() == [0, 1, 1, 0] and rows["long_view"].tolist() == [0, 0, 1, 0]
    assert rows["timestamp"].tolist() == pytest.approx([86400.001, 172800, 1728000, 1728000])
    assert dataset.id2token("tab", rows["tab"].to_numpy()).tolist() == ["4", "1", "1", "1"]
    assert (dataset.user_num, dataset.item_num) == (1 + 2, 1 + 3)
    tags = {dataset.id2token("tag", tag) for tags in dataset.item_feat["tag"] for tag in tags}
    assert tags >= {"39", "68", "12"}
    # A missing token is RecBole's padding.
    streamer = dataset.user_feat["is_live_streamer"]
    known = dict(zip(dataset.user_feat["user_id"].tolist(), streamer.tolist(), strict=True))
    assert known[dataset.token2id("user_id", "7")] == 0
    assert known[dataset.token2id("user_id", "3")] == dataset.token2id("is_live_streamer", "1")
