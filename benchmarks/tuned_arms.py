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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd
import torch
from popularity_term import corrected_arms

from recbole_hill.evaluation.per_user import PER_USER, read_arms
from recbole_hill.report.cells import Study, read_study
from recbole_hill.report.markdown import pipe_table
from recbole_hill.report.seeds import spread

METRICS = ("recall@20", "ndcg@20")
BACKBONE, CONTINUE = "backbone", "continue"
HEAD = (
    *("form", "arm", "chosen", "validation", *METRICS, "popularity"),
    *(f"{metric} - continue (seeds; users)" for metric in METRICS),
)


@dataclass(frozen=True)
class Outcome:
    """An arm of one run.

    Attributes:
        given: Settings that --KEY=VALUE gave.
        weight: Weight of the popularity term; None without one.
        valid_score: The validation value.
        metrics: The test metrics.
        popularity: Mean ln(1 + train users) of the items in the test lists.
        users: Every test user's metrics, indexed by user; None if the run does not keep them.
    """

    given: dict
    weight: float | None
    valid_score: float
    metrics: dict[str, float]
    popularity: float
    users: pd.DataFrame | None


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path, nargs="+", help="folders of studies")
    parser.add_argument(
        "--popularity",
        action="store_true",
        help="with a popularity term, whose weight validation chooses for each run and arm",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(report(options.studies, popularity=options.popularity))


def report(folders: list[Path], *, popularity: bool = False) -> str:
    """Returns the table of all rows and arms of studies.

    Args:
        folders: Folders of the studies.
        popularity: Whether each arm has a popularity term, see ``popularity_term.py``.
    """
    tried: dict[tuple[str, str], list[dict[int, Outcome]]] = {}
    for folder in folders:
        of_study: dict[tuple[str, str], dict[int, Outcome]] = {}
        for row, seed, arm, outcome in _outcomes(read_study(folder), popularity):
            of_study.setdefault((row, arm), {})[seed] = outcome
        for key, by_seed in of_study.items():
            tried.setdefault(key, []).append(by_seed)
    chosen = {key: max(studies, key=_validation) for key, studies in tried.items()}
    varied = _varied(list(tried.values()))
    lines = [
        _line(form, arm, best, chosen[form, CONTINUE], varied)
        for (form, arm), best in chosen.items()
    ]
    return pipe_table(HEAD, lines)


def _outcomes(study: Study, popularity: bool) -> Iterator[tuple[str, int, str, Outcome]]:
    """Yields row, seed, arm and outcome of every arm that has a validation value."""
    for cell in study.done:
        run, rows = study.run_of(cell), {row["arm"]: row for row in cell["rows"]}
        scores = {arm: _valid_score(row) for arm, row in rows.items()}
        known = {arm for arm, score in scores.items() if score is not None}
        corrected = corrected_arms(run, known) if popularity and known else {}
        users = read_arms(run) if (run / PER_USER).is_file() else None
        for arm in (arm for arm in rows if arm in known):
            if popularity:
                made = corrected[arm]
                own = (made.weight, made.valid_score, made.metrics, made.popularity, made.users)
            else:
                row = rows[arm]
                of_users = None if users is None else users[users["arm"] == arm]
                own = (None, scores[arm], row["metrics"], row["list_popularity"], of_users)
            yield cell["row"], cell["seed"], arm, Outcome(cell["given"], *own)


def _valid_score(row: dict) -> float | None:
    """Returns the validation value of a row's arm; None if its stage has none."""
    stage = row["arm"] if row["arm"] == BACKBONE else f"adapt_{row['arm']}"
    return row["stages"].get(stage, {}).get("valid_score")


def _validation(by_seed: dict[int, Outcome]) -> float:
    """Returns the mean validation value of an arm over its seeds."""
    return fmean(outcome.valid_score for outcome in by_seed.values())


def _varied(tried: list[list[dict[int, Outcome]]]) -> list[str]:
    """Returns the given settings that differ between studies."""
    given = [outcome.given for studies in tried for some in studies for outcome in some.values()]
    keys = dict.fromkeys(key for settings in given for key in settings if key != "show_progress")
    return [key for key in keys if len({str(settings.get(key)) for settings in given}) > 1]


def _line(
    form: str,
    arm: str,
    best: dict[int, Outcome],
    control: dict[int, Outcome],
    varied: list[str],
) -> list[str]:
    given = next(iter(best.values())).given
    weights = sorted({outcome.weight for outcome in best.values()} - {None})
    chosen = [f"{key} {given[key]}" for key in varied if key in given and arm != BACKBONE]
    chosen += [f"w {', '.join(f'{weight:g}' for weight in weights)}"] if weights else []
    return [
        form,
        arm,
        "; ".join(chosen) or "–",
        f"{_validation(best):.4f}",
        *(spread([outcome.metrics[m] for outcome in best.values()]) for m in METRICS),
        f"{fmean(outcome.popularity for outcome in best.values()):.3f}",
        *("" if arm == CONTINUE else _difference(best, control, m) for m in METRICS),
    ]


def _difference(best: dict[int, Outcome], control: dict[int, Outcome], metric: str) -> str:
    """Returns the mean difference over the seeds that both have, and its standard errors."""
    pairs = [(best[seed], control[seed]) for seed in sorted(best.keys() & control.keys())]
    found = [one.metrics[metric] - other.metrics[metric] for one, other in pairs]
    of_seeds = f"{stdev(found) / len(found) ** 0.5:.4f}" if len(found) > 1 else "–"
    of_users = "–"
    if all(outcome.users is not None for pair in pairs for outcome in pair):
        users = sum(one.users[metric] - other.users[metric] for one, other in pairs)
        of_users = f"{(users / len(pairs)).sem():.4f}"
    return f"{fmean(found):+.4f} ({of_seeds}; {of_users})"


if __name__ == "__main__":
    main()
