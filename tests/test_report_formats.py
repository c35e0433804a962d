"""A report's table in Markdown, LaTeX and CSV, by hand."""

import io
import re
from dataclasses import replace

import pandas
import pytest

from recbole_hill.report.delimited import csv_table
from recbole_hill.report.document import Line, Number, Table, inline
from recbole_hill.report.latex import escape, latex
from recbole_hill.report.markdown import markdown
from recbole_hill.report.significance import PairedTest
from recbole_hill.report.terminal import terminal_table

MADE = {
    "model": "HILL",
    "dataset": "gowalla",
    "data_sha256": "04b1",
    "protocol": "published",
    "test_selected": True,
    "split_seed": 2020,
    "seeds": [1, 2],
    "commit": "abc",
    "versions": {"torch": "2.1", "numpy": "2"},
    "device": "cpu, 1 threads",
    "seconds": 12.5,
    "peak_memory_mib": 100,
    "command": 'run --nodes="[8, 2]"',
}
BEST = Number((0.1, 0.3), rank=1, published=0.25, t_p=0.003, wilcoxon_p=0.004)
SECOND = Number((0.15,), rank=2, published=0.2, t_p=0.03, wilcoxon_p=0.04)
TABLE = Table(
    title="50% of A & B_1",
    head="settings",
    metrics=("recall@20",),
    extra_columns=("training, s",),
    lines=(
        Line("8, 2 | .8", (BEST,), extra_cells=("10",), note=1, source="BARS", made=MADE),
        Line("8, 2 | .8", (SECOND,), arm="random_nodes", extra_cells=("9",), made=MADE),
        Line("[8]", ("failed: C:\\x {y}",), extra_cells=("–",)),
    ),
    notes=("Made by `a_b --c=1` and **no other**", "[1] 5 > 4"),
    reference="continue",
)


def test_markdown_by_hand():
    assert markdown(TABLE).splitlines() == [
        "| settings | arm | recall@20 | published | difference | training, s |",
        "|---|---|---|---|---|---|",
        "| 8, 2 \\| .8 [1] | HILL | **0.2000 ± 0.1414**‡ | .2500 (BARS) | -20.0% | 10 |",
        "| 8, 2 \\| .8 | random_nodes | <ins>0.1500</ins>† | .2000 | -25.0% | 9 |",
        "| [8] | | failed: C:\\x {y} | – | | – |",
        "",
        "- Made by `a_b --c=1` and **no other**",
        "- [1] 5 > 4",
    ]


def test_terminal_by_hand():
    title, _, *lines = terminal_table(replace(TABLE, notes=("p < 1 & `a_b` **no\x1b**",))).split(
        "\n"
    )
    assert title == "50% of A & B_1"
    assert lines == [
        "settings       arm                   recall@20     published  difference  training, s",
        "8, 2 | .8 [1]  HILL          0.2000 ± 0.1414‡*  .2500 (BARS)      -20.0%           10",
        "8, 2 | .8      random_nodes            0.1500†         .2000      -25.0%            9",
        "[8]                           failed: C:\\x {y}             –                        –",
        "",
        "- * the best of its column",
        "- p < 1 & `a_b` no\\x1b",
    ]


def test_latex_by_hand():
    lines = latex(TABLE, "6-gowalla").splitlines()
    begin = lines.index(r"\toprule")
    assert lines[begin - 2] == r"\begin{adjustbox}{max width=\linewidth}"
    assert lines[lines.index(r"\end{tabular}") + 1] == r"\end{adjustbox}"
    assert lines[begin - 1] == r"\begin{tabular}{llrrrr}"
    assert lines[begin + 1 : lines.index(r"\bottomrule")] == [
        r"settings & arm & recall@20 & published & difference & training, s \\",
        r"\midrule",
        r"8, 2 \textbar{} .8\textsuperscript{1} & HILL & "
        r"\textbf{\boldmath 0.2000 $\pm$ 0.1414}\textsuperscript{$\ddagger$} & .2500 (BARS) & "
        r"$-$20.0\% & 10 \\",
        r" & random\_nodes & \underline{0.1500}\textsuperscript{$\dagger$} & .2000 & "
        r"$-$25.0\% & 9 \\",
        r"\addlinespace",
        r"{[}8{]} &  & failed: C:\textbackslash{}x \{y\} &  &  & -- \\",
    ]
    assert r"\caption{50\% of A \& B\_1}" in lines
    assert r"\label{tab:6-gowalla}" in lines
    assert r"Made by \texttt{a\_b {-}{-}c=1} and \textbf{no other}\par" in lines
    assert r"{[}1{]} 5 \textgreater{} 4\par" in lines


def test_latex_is_balanced_and_every_line_of_the_table_has_all_columns():
    text = latex(TABLE)
    bare = re.sub(r"\\[\\{}$%]", "", text)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0 and bare.count("$") % 2 == 0
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 4
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {5}


def test_every_special_character_of_latex_is_escaped():
    assert escape(r"a_b 100% #1 $x$ {y} ~ ^ & \z") == (
        r"a\_b 100\% \#1 \$x\$ \{y\} \textasciitilde{} \textasciicircum{} \& \textbackslash{}z"
    )
    # What stands after a line's end must not be read as its argument.
    assert escape("[1]*") == "{[}1{]}{*}"
    assert escape("±–†…\n<|>") == (r"$\pm$--$\dagger$\ldots{} \textless{}\textbar{}\textgreater{}")


def test_notes_in_another_format_escape_code_and_stress_too():
    found = inline(
        "a < `b < c` **d** *", lambda t: t.replace("<", "&lt;"), "({})".format, str.upper
    )
    assert found == "a &lt; (b &lt; c) D *"


def test_csv_has_the_tests_over_users_and_over_seeds():
    over_users = PairedTest(900, 0.01, 0.002, 0.003, (0.005, 0.015))
    number = Number((0.2, 0.3), t_p=0.004, wilcoxon_p=0.006, users=over_users)
    seeds = replace(over_users, n=2, t_p=0.4, wilcoxon_p=0.5)
    lines = (Line("one", (number,)), Line("two", (replace(number, seeds=seeds),)))
    table = Table("t", "model", ("recall@20",), lines, reference="BPR")
    one, two = pandas.read_csv(io.StringIO(csv_table(table))).to_dict("records")
    assert (one["mean_difference"], one["low"], one["high"]) == (0.01, 0.005, 0.015)
    assert (one["t_p"], one["wilcoxon_p"]) == (0.004, 0.006)  # adjusted
    assert pandas.isna(one["seeds_t_p"]) and pandas.isna(one["seeds_wilcoxon_p"])
    assert (two["seeds_t_p"], two["seeds_wilcoxon_p"]) == (0.4, 0.5)


def test_csv_is_read_back_by_pandas():
    frame = pandas.read_csv(io.StringIO(csv_table(TABLE)), keep_default_na=True)
    assert len(frame) == 3
    first, second, third = (frame.loc[number] for number in range(3))
    assert first["row"] == "8, 2 | .8" and pandas.isna(first["arm"])
    assert first["mean"] == 0.2 and first["deviation"] == pytest.approx(0.02**0.5)
    assert first["n"] == 2 and first["seeds"] == "1 2" and first["published"] == 0.25
    assert first["difference"] == pytest.approx(-0.2)
    assert (first["t_p"], first["wilcoxon_p"], first["reference"]) == (0.003, 0.004, "continue")
    assert first["versions"] == "torch=2.1 numpy=2" and first["commit"] == "abc"
    assert first["protocol"] == "published" and first["test_selected"] in (True, "True")
    assert first["command"] == 'run --nodes="[8, 2]"' and first["seconds"] == 12.5
    assert second["arm"] == "random_nodes" and second["n"] == 1
    assert pandas.isna(second["deviation"]) and second["mean"] == 0.15
    assert third["status"] == "failed: C:\\x {y}" and pandas.isna(third["mean"])
    assert third["n"] == 0
