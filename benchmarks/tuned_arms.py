"""Arms of test-time training, each at the settings that validation chose for it.

    python run_recbole_hill.py table forms ... --output=A
    python run_recbole_hill.py table forms ... --power=0.8 --output=B
    python benchmarks/tuned_arms.py A/tableforms-ml-100k-holdout B/tableforms-ml-100k-holdout

Pairs change what a loss does to popular items, as settings of the loss do. So an arm is compared
with the control ``continue`` at the settings that suit each of them best. The studies have the same
rows and seeds, and differ in settings that --KEY=VALUE gave. For each row and arm this program
takes the study with the best validation value, the mean over the seeds. It prints the settings of
this study, the arm's values on validation and test, the popularity of its lists (mean ln(1 + train
users of an item)), and the mean difference to ``continue`` on test, with its standard error over
the seeds and over the test users (of each user's mean over the seeds).
"""

import argparse
import sys
from functools import cache
from pathlib import Path
from statistics import fmean, stdev

from pandas import DataFrame, Series

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from recbole_hill.evaluation.per_user import PER_USER, read_arms
from recbole_hill.report.cells import read_study
from recbole_hill.report.markdown import pipe_table
from recbole_hill.report.seeds import spread

METRICS = ("recall@20", "ndcg@20")
CONTINUE = "continue"
HEAD = (
    *("form", "arm", "chosen", "validation", *METRICS, "popularity"),
    *(f"{metric} - continue (seeds; users)" for metric in METRICS),
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path, nargs="+", help="folders of studies")
    print(report(parser.parse_args().studies))


def report(folders: list[Path]) -> str:
    """Returns the table of all rows and arms of studies."""
    tried: dict[tuple[str, str], list[dict[int, dict]]] = {}
    for folder in folders:
        study = read_study(folder)
        of_study: dict[tuple[str, str], dict[int, dict]] = {}
        for cell in study.done:
            for row in cell["rows"]:
                if row["stages"].get(_stage(row), {}).get("valid_score") is not None:
                    kept = {**row, "given": cell["given"], "run": study.run_of(cell)}
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
        f"{fmean(row['list_popularity'] for row in best.values()):.3f}",
        *("" if arm == CONTINUE else _difference(best, control, m) for m in METRICS),
    ]


def _difference(best: dict[int, dict], control: dict[int, dict], metric: str) -> str:
    """Returns the mean difference over the seeds that both have, and its standard errors."""
    seeds = sorted(best.keys() & control.keys())
    found = [best[s]["metrics"][metric] - control[s]["metrics"][metric] for s in seeds]
    of_seeds = f"{stdev(found) / len(found) ** 0.5:.4f}" if len(found) > 1 else "–"
    of_users = "–"
    if all((row["run"] / PER_USER).is_file() for s in seeds for row in (best[s], control[s])):
        users = sum(_per_user(best[s], metric) - _per_user(control[s], metric) for s in seeds)
        of_users = f"{(users / len(seeds)).sem():.4f}"
    return f"{fmean(found):+.4f} ({of_seeds}; {of_users})"


@cache
def _arms(run: Path) -> DataFrame:
    return read_arms(run)


def _per_user(row: dict, metric: str) -> Series:
    """Returns every test user's value of a row's metric, indexed by user."""
    arms = _arms(row["run"])
    return arms[arms["arm"] == row["arm"]][metric]


if __name__ == "__main__":
    main()
