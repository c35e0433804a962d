"""Arms of test-time training, each at the settings that validation chose for it.

    python run_recbole_hill.py table forms ... --output=A
    python run_recbole_hill.py table forms ... --power=0.8 --output=B
    python benchmarks/tuned_arms.py A/tableforms-ml-100k-holdout B/tableforms-ml-100k-holdout

Pairs change what a loss does to popular items, as settings of the loss do. So an arm is compared
with the control ``continue`` at the settings that suit each of them best. The studies have the same
rows and seeds, and differ in settings that --KEY=VALUE gave. For each row and arm this program
takes the study with the best validation value, the mean over the seeds. It prints the settings of
this study, the arm's values on validation and test, and the mean difference to ``continue`` on test
over the seeds, with its standard error.
"""

import argparse
import sys
from pathlib import Path
from statistics import fmean, stdev

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from recbole_hill.report.cells import read_study
from recbole_hill.report.markdown import pipe_table
from recbole_hill.report.seeds import spread

METRICS = ("recall@20", "ndcg@20")
CONTINUE = "continue"
HEAD = ("form", "arm", "chosen", "validation", *METRICS, *(f"{m} - continue" for m in METRICS))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path, nargs="+", help="folders of studies")
    print(report(parser.parse_args().studies))


def report(folders: list[Path]) -> str:
    """Returns the table of all rows and arms of studies."""
    tried: dict[tuple[str, str], list[dict[int, dict]]] = {}
    for folder in folders:
        of_study: dict[tuple[str, str], dict[int, dict]] = {}
        for cell in read_study(folder).done:
            for row in cell["rows"]:
                if row["stages"].get(_stage(row), {}).get("valid_score") is not None:
                    kept = {**row, "given": cell["given"]}
                    of_study.setdefault((cell["row"], row["arm"]), {})[cell["seed"]] = kept
        for key, by_seed in of_study.items():
            tried.setdefault(key, []).append(by_seed)
    chosen = {key: max(studies, key=_validation) for key, studies in tried.items()}
    varied = _varied(list(tried.values()))
    lines = [
        _line(form, arm, best, chosen[form, CONTINUE], varied)
        for (form, arm), best in chosen.items()
    ]
    return pipe_table(HEAD, lines)


def _validation(by_seed: dict[int, dict]) -> float:
    """Returns the mean validation value of an arm over its seeds."""
    return fmean(row["stages"][_stage(row)]["valid_score"] for row in by_seed.values())


def _stage(row: dict) -> str:
    """Returns the name of the stage that trained a row's arm."""
    return f"adapt_{row['arm']}"


def _varied(tried: list[list[dict[int, dict]]]) -> list[str]:
    """Returns the given settings that differ between studies."""
    given = [row["given"] for studies in tried for by_seed in studies for row in by_seed.values()]
    keys = dict.fromkeys(key for settings in given for key in settings)
    return [key for key in keys if len({str(settings.get(key)) for settings in given}) > 1]


def _line(
    form: str, arm: str, best: dict[int, dict], control: dict[int, dict], varied: list[str]
) -> list[str]:
    given = next(iter(best.values()))["given"]
    values = {m: [row["metrics"][m] for row in best.values()] for m in METRICS}
    return [
        form,
        arm,
        ", ".join(f"{key} {given[key]}" for key in varied if key in given) or "as the backbone",
        f"{_validation(best):.4f}",
        *(spread(values[m]) for m in METRICS),
        *("" if arm == CONTINUE else difference(best, control, m) for m in METRICS),
    ]


def difference(best: dict[int, dict], control: dict[int, dict], metric: str) -> str:
    """Returns the mean difference over the seeds that both have, and its standard error.

    Args:
        best: Rows with ``metrics``, by seed.
        control: Rows to compare them with, by seed.
        metric: Name of the metric.
    """
    seeds = best.keys() & control.keys()
    found = [best[s]["metrics"][metric] - control[s]["metrics"][metric] for s in seeds]
    error = f" ± {stdev(found) / len(found) ** 0.5:.4f}" if len(found) > 1 else ""
    return f"{fmean(found):+.4f}{error}"


if __name__ == "__main__":
    main()
