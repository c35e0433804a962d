"""The page in a real browser, and its figures by hand."""

import html
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from studies import DEFINITION, SWEEP, cell, failed, made, write_study

from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.report import cells as module
from recbole_hill.report.page import page
from recbole_hill.report.page.axis import Axis, duration_text
from recbole_hill.report.page.figure import Point, histogram, scatter
from recbole_hill.report.page.sunburst import sectors, sunburst
from recbole_hill.report.write import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

#: Tells, in the page's title, what only a browser knows.
PROBE = """<script>addEventListener("load", () => {
  const overflow = [...document.querySelectorAll("main *")].filter((each) =>
    !each.closest(".scroll") && !each.closest("pre") && !each.closest("details")
    && each.getBoundingClientRect().right > document.documentElement.clientWidth + 1);
  const head = [...document.querySelectorAll("th button")].find((b) => b.innerText === "ours");
  head.click();
  const first = document.querySelector("table.results tbody tr td").innerText;
  const labels = [...document.querySelectorAll("svg text")].map((t) => t.getBoundingClientRect());
  document.title = [document.documentElement.scrollWidth, document.documentElement.clientWidth,
    overflow.length, first, labels.filter((box) => box.width > 0).length].join("|");
});</script>"""


@pytest.fixture(autouse=True)
def definitions(monkeypatch):
    found = {"test": DEFINITION, "sweep": SWEEP}
    monkeypatch.setattr(module, "definition_of", found.__getitem__)


def index_of(nodes: list[int], coarse: list[int]) -> HierarchicalIndex:
    items = [f"i{number}" for number in range(len(nodes))]
    vectors = np.arange(2.0 * len(nodes)).reshape(-1, 2)
    return HierarchicalIndex.build(items, [np.array(nodes), np.array(coarse)], vectors)


INDEX = index_of([0, 0, 0, 0, 1, 1, 2, 3], [0, 0, 1, 1])


@pytest.fixture
def study(tmp_path):
    hill = cell("HILL", [made("HILL", 0.3), made("HILL", 0.28, arm="continue")])
    cells = [
        cell("BPR", [made("BPR", 0.1, 1)]),
        cell("BPR", [made("BPR", 0.3, 2)]),
        cell("EASE", [made("EASE", 0.35, test_selected=True, protocol="published")]),
        failed("CML", 1, "RuntimeError: <b>a & b</b>"),
        hill,
    ]
    folder = write_study(tmp_path / "study", cells)
    (folder / hill["run_dir"]).mkdir(parents=True)
    INDEX.save(folder / hill["run_dir"] / "index.npz")
    return folder


def test_report_is_written_in_every_format(study):
    files = write_report(study)
    assert {kind: str(file.relative_to(study)) for kind, file in files.items()} == {
        "markdown": "report/table.md",
        "latex": "report/table.tex",
        "csv": "report/table.csv",
        "html": "report/index.html",
    }
    assert (
        "| EASE | **0.3500** | **0.1750** | .2000/.1000 (BARS) |" in files["markdown"].read_text()
    )
    assert r"\label{tab:test-gowalla}" in files["latex"].read_text()
    assert len(files["csv"].read_text().splitlines()) == 1 + 5 * 2
    elsewhere = write_report(study, study / "else")
    assert elsewhere["csv"].parent == study / "else"
    assert sorted(file.name for file in (study / "else").iterdir()) == [
        "index.html",
        "table.csv",
        "table.md",
        "table.tex",
    ]


def test_page_says_how_it_was_made_and_needs_nothing_else(study):
    text = page(study)
    assert not re.search(r"(?:https?:)?//[a-z]|src=|@import|url\(", text)
    assert '<span class="badge warning">test-selected</span>' in text
    assert "the best epoch on the test set is shown" in text
    assert "run_recbole_hill.py table test --dataset=gowalla" in text
    assert "0123456789abcdef" in text and "torch 2" in text and "cpu, 1 threads" in text
    assert "<b>a" not in text and "failed: RuntimeError: &lt;b&gt;a &amp; b&lt;/b&gt;" in text
    assert "* Published elsewhere than in the paper: EASE (BARS)." in text
    # The run has no weights, so no path: the page says so and stands.
    assert "path is not shown: " in text


def test_best_is_bold_second_underlined_and_sorted_by_unrounded_values(study):
    text = page(study)
    assert re.search(r'<td class="first-best" data-key="0.35"><span class="value">0.3500', text)
    assert re.search(r'<td class="second-best" data-key="0.3"><span class="value">0.3000', text)
    assert '<td class="quiet" data-key="0.25">.2500' not in text  # NESCL was not run
    assert "+75.0%" in text  # EASE's .35 over .2


def test_every_figure_is_well_formed(study):
    figures = re.findall(r"<svg.*?</svg>", page(study), re.DOTALL)
    assert len(figures) > 5
    for figure in figures:
        ET.fromstring(figure)
        assert "nan" not in figure.lower().replace("dominant", "")


def test_several_studies_stand_on_one_page(study, tmp_path):
    cells = []
    for number, name in enumerate(SWEEP["rows"]):
        settings = {"seed": 1, "n": number}
        rows = [
            made("HILL", 0.3 + number / 100, arm=a, settings=settings) for a in ("HILL", "pairs")
        ]
        cells.append(cell(name, rows))
    other = write_study(tmp_path / "other", cells, seeds=(1,), table="sweep")
    text = page([study, other])
    assert text.count('<section class="study"') == 2
    assert '<a href="#study1">A sweep</a>' in text and 'id="study1"' in text
    sweep = text[text.index('id="study1"') :]
    assert sweep.count('class="curve own"') == 2  # one per metric
    assert sweep.count('class="point published"') == 2 * (2 + 1)  # and its name at the edge
    assert sweep.count('class="curve control0"') == 2


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look with")
@pytest.mark.parametrize("width", [1280, 500])
def test_in_a_browser(study, tmp_path, width):
    file = tmp_path / "page.html"
    file.write_text(page(study).replace("</body>", PROBE + "</body>"))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"]
    done = subprocess.run(
        [*command, file.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    dom = done.stdout
    title = html.unescape(re.search(r"<title>(.*?)</title>", dom)[1])
    scroll, client, overflow, first, labels = title.split("|")
    assert int(scroll) <= int(client) and int(overflow) == 0
    assert first == "EASE"  # sorted by a press on the head: the best first
    results = dom[dom.index('class="results"') : dom.index('class="notes"')]
    rows = re.findall(r"<tr class=[^>]*><td[^>]*>([^<]*)", results)
    assert [row.strip() for row in rows] == [
        "EASE",
        "HILL",
        "HILL: continue",
        "BPR",
        "CML",
    ]  # what failed last
    assert int(labels) > 30
    for name in ("recall@20 against training time", "The index", "Ours beside the published"):
        assert name in dom


# -- figures by hand --------------------------------------------------------------------------


def test_axis_places_and_ticks():
    axis = Axis(0.0, 10.0, 100, 200)
    assert axis(5) == 150 and axis.ticks(5) == [0, 2, 4, 6, 8, 10]
    log = Axis(1.0, 100.0, 0, 10, log=True)
    assert log(10) == pytest.approx(5) and log.ticks() == [1, 10, 60]
    assert Axis(25.0, 200.0, 0, 10, log=True).ticks() == [30, 60, 120]
    assert [duration_text(s) for s in (0.1, 60, 600, 5400)] == ["0.1 s", "1 min", "10 min", "1.5 h"]


def test_labels_of_a_crowd_do_not_touch():
    points = [Point(f"model {n}", 10 + n % 7, 0.1 + n / 1000, "usual", "") for n in range(40)]
    texts = ET.fromstring(scatter(points, "recall", "x")).findall("text")
    labels = [text for text in texts if text.get("class").startswith("label")]
    assert 10 < len(labels) <= 40
    boxes = []
    for label in labels:
        width, x, y = len(label.text) * 5.5, float(label.get("x")), float(label.get("y"))
        side = {"end": width, "middle": width / 2}.get(label.get("class").split()[-1], 0)
        boxes.append((x - side, y - 9, x - side + width, y + 2))
    for number, a in enumerate(boxes):
        for b in boxes[number + 1 :]:
            assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def test_one_poor_model_does_not_press_the_others_together():
    points = [Point(str(n), 10, 0.38 + n / 500, "usual", str(n)) for n in range(9)]
    figure = scatter([*points, Point("Pop", 1, 0.1, "usual", "Pop")], "recall", "x")
    places = [
        float(re.search(r"M\S+ (\S+?)a", path.get("d"))[1])
        for path in ET.fromstring(figure).findall("path")
        if path.get("class").startswith("point")
    ]
    assert max(places[:9]) - min(places[:9]) > 300
    assert "Pop 0.1000 ↓" in figure


def test_histogram_counts_every_node():
    bars = re.findall(r"<title>(.*?)</title>", histogram([1, 1, 3, 3, 3, 5], 2.7, "sizes"))
    assert bars == ["2 nodes of 1 items", "3 nodes of 3 items", "1 nodes of 5 items"]


def test_sectors_are_the_shares_of_the_items():
    found = [(s.depth, s.nodes, s.start * 8, s.end * 8, s.items) for s in sectors(INDEX)]
    assert found == [
        (2, (0,), 0, 6, 6),
        (2, (1,), 6, 8, 2),
        (1, (0,), 0, 4, 4),
        (1, (1,), 4, 6, 2),
        (1, (2,), 6, 7, 1),
        (1, (3,), 7, 8, 1),
    ]


def test_smallest_nodes_are_pooled_and_nothing_below_them_is_drawn():
    index = index_of([0, 0, 0, 1, 1, 2], [0, 1, 2])
    found = [(s.depth, s.nodes, s.items) for s in sectors(index, most=1)]
    assert found == [(2, (0,), 3), (2, (1, 2), 3), (1, (0,), 3)]
    many = index_of(list(range(50)), [n % 2 for n in range(50)])
    assert len(sectors(many, most=10)) == 2 + 10 + 2


def test_a_path_is_marked_on_every_ring():
    figure = ET.fromstring(sunburst(INDEX, [INDEX.path(5)]))
    marked = [p[0].text for p in figure.findall("path") if "on-path" in p.get("class")]
    assert sorted(marked) == ["depth 1, node 1: 2 items", "depth 2, node 0: 6 items"]
