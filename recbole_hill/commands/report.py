"""``report``: print finished runs as a table."""

import argparse

from recbole_hill.commands.options import add_studies_folder, hush_libraries, whole

HELP = "print finished runs as a table"
EPILOG = """\
Without an option the runs must be of one model and differ in their seed alone: mean and spread.
With --ablation they may differ in settings too: a line for each variant, named by what differs.
With --serving they may be of TTSN, EBR, MoNN and HSNN: HSNN's Table 1.
With --beyond the columns are coverage, novelty, diversity, popularity bias and fairness, from the
lists that every run keeps; studies' folders stand for their cells.
With --table=3 they may be of any models, on one dataset under one protocol.
With --dataset, the reports of all studies (`table`) on it are written again.

examples
  run_recbole_hill.py report saved/HILL-ml-100k-*
  run_recbole_hill.py report --ablation saved/HILL-ml-100k-*
  run_recbole_hill.py report --table=3 results/gowalla/baselines-published.jsonl saved/MINE
  run_recbole_hill.py report --beyond saved/BPR-ml-100k-* saved/HILL-ml-100k-*
  run_recbole_hill.py report --dataset=gowalla
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the options."""
    command.add_argument(
        "runs", nargs="*", metavar="RUN", help="runs' folders, or rows.jsonl files"
    )
    command.add_argument("--dataset", help="report all studies on this dataset")
    command.add_argument(
        "--reference", metavar="ROW", help="what a study's significance is against"
    )
    add_studies_folder(command)
    kind = command.add_mutually_exclusive_group()
    kind.add_argument("--table", metavar="N", help="compare models beside the paper's table N")
    kind.add_argument(
        "--serving", action="store_true", help="MoNN, HSNN ...: what they know and a request costs"
    )
    kind.add_argument("--ablation", action="store_true", help="compare settings of one model")
    kind.add_argument("--beyond", action="store_true", help="metrics of the lists beyond accuracy")
    command.add_argument("--k", type=whole(1), help="length of the lists of --beyond")


def run(arguments: argparse.Namespace) -> None:
    """Prints the table that the options ask for."""
    hush_libraries()
    from recbole_hill.report.markdown import note_list
    from recbole_hill.report.seeds import read_rows, seeds_table, unchanged

    if arguments.dataset:
        from recbole_hill.config.schema import check, schema_of
        from recbole_hill.experiments.study.command import report_dataset

        check("--dataset", arguments.dataset, schema_of("dataset"))
        report_dataset(arguments.dataset, arguments.output, reference=arguments.reference)
        return
    if not arguments.runs:
        raise ValueError("report needs runs' folders, or --dataset for the studies on a dataset")
    if arguments.k and not arguments.beyond:
        raise ValueError("--k is for --beyond")
    if arguments.beyond:
        from recbole_hill.report.beyond import beyond_table

        print(beyond_table(arguments.runs, arguments.k))
        return
    runs, left_out = unchanged(arguments.runs)
    rows = read_rows(runs)
    if arguments.table:
        from recbole_hill.report.comparison import comparison_table

        print(comparison_table(rows, arguments.table))
    elif arguments.serving:
        from recbole_hill.report.serving import serving_table

        print(serving_table(rows))
    elif arguments.ablation:
        from recbole_hill.report.ablation import ablation_table

        print(ablation_table(rows))
    else:
        print(seeds_table(rows))
    for note in note_list(left_out):
        print(note)
