"""The command line: parsing and printing only."""

import argparse
import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence

DESCRIPTION = """\
Hierarchical-index retrieval (HILL) for RecBole.

  run_recbole_hill.py --model=HILL --dataset=ml-100k
  run_recbole_hill.py --model=HILL --dataset=gowalla --backbone=LightGCN --protocol=refit
  run_recbole_hill.py --model=BPR --dataset=ml-100k --learning_rate=0.005
  run_recbole_hill.py --resume=saved/HILL-ml-100k-20261124-120000-abc123
  run_recbole_hill.py sweep --model=BPR --dataset=ml-100k --trials=20 --output=saved/sweep-BPR
  run_recbole_hill.py prepare gowalla --source=DIR
  run_recbole_hill.py prepare kuairand-pure --source=KuaiRand-Pure/data
  run_recbole_hill.py report saved/HILL-ml-100k-*
  run_recbole_hill.py table 3 --dataset=ml-100k --seeds=2020,2021,2022 --jobs=2
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42,17
  run_recbole_hill.py export --checkpoint=saved/RUN --output=DIR
"""

RUN_EPILOG = """\
Any setting of RecBole, of the model or of its backbone can be given as --key=value; it wins over
the files of --config_files, which win over properties/. An unknown key is an error.

protocols
  holdout    10 % of train is validation; choices and early stopping look at it; test is read once
  refit      epochs chosen by holdout, then trained on all of train, test read once
  published  trained on all of train, the best test epoch reported; rows are stamped test-selected

examples
  run_recbole_hill.py --model=HILL --dataset=ml-100k
  run_recbole_hill.py --model=HILL --dataset=ml-100k --nodes_per_depth="[300, 30]" --ttt_epochs=5
  run_recbole_hill.py --model=NESCL --dataset=gowalla --protocol=published --config_files="my.yaml"
"""

STREAM_EPILOG = """\
The impressions in the order of time, in slices: what the model predicts of a slice is judged (NE,
AUC) before it is trained on it, and a snapshot of weights and index is kept after each. Called
again with the same --run_dir and settings, a stopped stream goes on. Settings: --key=value.

examples
  run_recbole_hill.py stream --model=HSNN --dataset=ml-100k --slices=10
  run_recbole_hill.py stream --model=TTSN --dataset=ml-100k --keep=5 --run_dir=saved/online
"""

SWEEP_EPILOG = """\
Settings are tried under holdout and compared on validation; the test set is read once, with the
best of them. What is searched: tuning/<model>.yaml, or --space=FILE. A setting given as --key=value
is the same for all trials. Called again with the same --output, a stopped sweep goes on.

strategies
  asha    settings at random; trials whose validation lags behind are stopped early (the default)
  random  settings at random, all trained to their end
  grid    every combination

examples
  run_recbole_hill.py sweep --model=BPR --dataset=ml-100k --trials=20 --output=saved/sweep-BPR
  run_recbole_hill.py sweep --model=HILL --dataset=ml-100k --strategy=grid --jobs=2 --output=DIR
  run_recbole_hill.py sweep --model=NESCL --dataset=gowalla --time_budget=8h --epochs=60
  run_recbole_hill.py --model=BPR --dataset=ml-100k --config_files=saved/sweep-BPR/best.yaml
"""

REPORT_EPILOG = """\
Without an option the runs must be of one model and differ in their seed alone: mean and spread.
With --ablation they may differ in settings too: a line for each variant, named by what differs.
With --serving they may be of TTSN, EBR, MoNN and HSNN: HSNN's Table 1.
With --table=3 they may be of any models, on one dataset under one protocol.
With --dataset, the reports of all studies (`table`) on it are written again.

examples
  run_recbole_hill.py report saved/HILL-ml-100k-*
  run_recbole_hill.py report --ablation saved/HILL-ml-100k-*
  run_recbole_hill.py report --table=3 results/gowalla/baselines-published.jsonl saved/MINE
  run_recbole_hill.py report --dataset=gowalla
"""

TABLE_EPILOG = """\
Runs the paper's table: a cell for each row and seed, each in a process of its own. A finished cell
is one line of cells.jsonl in the study's folder and never runs again; a killed one goes on with the
epoch that it was in when the same command is given once more; a failed one is recorded and the
rest goes on. First seed first, short cells first. Ends with the report: Markdown here, and
report/index.html, table.tex and table.csv in the folder. --key=value goes to every cell.

tables: 1 (MoNN and HSNN), 2 (the datasets), 3 (38 baselines and HILL), 4 (without each training
trick), 5 (joint, EM, separate), 6 (nodes per depth), 7 (interest thresholds); 4-hsnn and 5-hsnn
(HSNN's), forms (other forms of test-time training), beyond (Fusion and the best in print)

examples
  run_recbole_hill.py table 3 --dataset=ml-100k --seeds=2020,2021,2022 --jobs=2
  run_recbole_hill.py table 3 --dataset=gowalla --models=BPR,LightGCN,HILL --time-budget=2h
  run_recbole_hill.py table 3 --dataset=gowalla,yelp2018 --protocol=published --dry-run
  run_recbole_hill.py table 7 --dataset=gowalla --seeds=2020,2021 --backbone-from=saved/NESCL-RUN
  run_recbole_hill.py table 3 --dataset=ml-100k --ray-address=127.0.0.1:6379
"""

RECOMMEND_EPILOG = """\
Prints user, rank, item and score, best first, without what the user has in train and validation.

examples
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42,17
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42 --k=50 --retrieval=faiss
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42 --retrieval=beam --beam_width=20
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42 --retrieval=beam --node_score=best
"""

EXPORT_EPILOG = """\
Writes, in external ids:
  recommendations.csv (.parquet)              user, rank, item, score
  user_embeddings.npy, item_embeddings.npy    float32; row r is of line r of users.txt, items.txt
  index.npz, index.faiss                      a HILL run's tree, and FAISS's lists of its depth-1
                                              nodes, whose ids are rows of item_embeddings.npy
  manifest.json                               what each file is, and how to search
A model whose score is not an inner product of two vectors (EASE, NeuMF) has lists only.

examples
  run_recbole_hill.py export --checkpoint=saved/RUN --output=exported
  run_recbole_hill.py export --checkpoint=saved/RUN --output=exported --format=parquet --k=100
  run_recbole_hill.py export --checkpoint=saved/RUN --output=two --users=42,17 --retrieval=faiss
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` if None.

    Returns:
        The exit status: 0, or 1 for an error that is the user's to mend.
    """
    # Before torch is imported: threads that spin at every barrier, OpenMP's habit, make an epoch
    # forty times slower as soon as another process wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    argv = [_underscored(word) for word in (sys.argv[1:] if argv is None else argv)]
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        argv = ["run", *argv]
    debug = "--debug" in argv
    arguments, extra = _parser().parse_known_args([a for a in argv if a != "--debug"])
    try:
        if extra and arguments.command not in (_run, _stream, _sweep, _table):
            raise ValueError(f"unknown argument {extra[0]!r}; see --help")
        arguments.overrides = _overrides(extra)
        return arguments.command(arguments) or 0
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            sys.stdout.close()
        return 1
    except Exception as error:  # whatever RecBole or a library raised, in one line
        if debug:
            traceback.print_exc()
        elif isinstance(error, (ValueError, OSError, ImportError)):
            print(f"error: {error}".splitlines()[0], file=sys.stderr)
        else:
            line = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"error: {line} (--debug shows where)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        again = "--resume=DIR" if arguments.command is _run else "the same command"
        print(f"stopped; it goes on with {again}", file=sys.stderr)
        return 130


def _underscored(word: str) -> str:
    """Returns an option with underscores in its name, as settings have: --dry-run is --dry_run."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="run_recbole_hill.py", description=DESCRIPTION, formatter_class=raw, allow_abbrev=False
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, function, text: str, **options) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=text, formatter_class=raw, allow_abbrev=False, **options
        )
        sub.set_defaults(command=function)
        return sub

    run = command("run", _run, "train, index, adapt, evaluate (the default)", epilog=RUN_EPILOG)
    run.add_argument("--model", help="a name that `models` lists")
    run.add_argument("--dataset", help="ml-100k ships with RecBole; others need `prepare`")
    run.add_argument("--config_files", help='YAML files, separated by spaces: "a.yaml b.yaml"')
    run.add_argument("--protocol", help="holdout | refit | published")
    run.add_argument("--resume", metavar="DIR", help="continue the killed run in this folder")

    stream = command(
        "stream",
        _stream,
        "train online, and judge each slice before learning it",
        epilog=STREAM_EPILOG,
    )
    stream.add_argument("--model", required=True, help="MoNN | TTSN | EBR | HSNN")
    stream.add_argument("--dataset", required=True, help="a dataset with labels and times")
    stream.add_argument("--config_files", help='YAML files, separated by spaces: "a.yaml b.yaml"')
    stream.add_argument("--slices", type=int, default=10, help="parts of equal size (default: 10)")
    stream.add_argument("--keep", type=int, help="slices until an item not shown again is deleted")

    table = command("table", _table, "run a paper's table, and report it", epilog=TABLE_EPILOG)
    table.add_argument("number", metavar="N", help="the table")
    table.add_argument("--dataset", help="one or more: gowalla,yelp2018 (default: ml-100k)")
    table.add_argument(
        "--models",
        help="these rows and those they start from; with table 3 any model: BPR,MyModel",
    )
    table.add_argument("--seeds", default="2020", help="2020,2021 (default: 2020)")
    table.add_argument("--protocol", default="holdout", help="holdout | refit | published")
    table.add_argument("--jobs", type=int, default=1, help="cells side by side (default: 1)")
    table.add_argument("--threads", type=int, default=1, help="CPU threads of a cell (default: 1)")
    table.add_argument(
        "--memory", help="what cells side by side may need: 16g (default: 9/10 of what is free)"
    )
    table.add_argument(
        "--ray_address", help="run on this Ray cluster; `local` starts one here, on loopback"
    )
    table.add_argument("--gpus", type=float, default=0.0, help="GPUs of a cell on Ray: 1, 0.5")
    table.add_argument("--time_budget", help="stop after 90s, 30m, 2h; the same command goes on")
    table.add_argument("--dry_run", action="store_true", help="print cells, time, memory; no more")
    table.add_argument("--retry_failed", action="store_true", help="run failed cells once more")
    table.add_argument(
        "--backbone_from", metavar="DIR", help="a finished run, for tables 5 to 7 and forms"
    )
    table.add_argument("--reference", metavar="ROW", help="what significance is against")
    _add_studies_argument(table)

    sweep = command(
        "sweep", _sweep, "choose settings on validation, test the best", epilog=SWEEP_EPILOG
    )
    sweep.add_argument("--model", required=True, help="a name that `models` lists")
    sweep.add_argument("--dataset", required=True, help="as for run")
    sweep.add_argument("--config_files", help='YAML files, separated by spaces: "a.yaml b.yaml"')
    sweep.add_argument("--space", metavar="FILE", help="what to search (tuning/<model>.yaml)")
    sweep.add_argument("--strategy", default="asha", help="asha | random | grid (default: asha)")
    sweep.add_argument("--trials", type=int, help="settings to try (default: 20; a grid: all)")
    sweep.add_argument("--time_budget", help="90s | 30m | 2h: after it no trial goes on")
    sweep.add_argument("--jobs", type=int, default=1, help="trials at once (default: 1)")
    sweep.add_argument("--ray_address", help="of a Ray cluster (default: Ray on this machine)")
    sweep.add_argument("--draw_seed", type=int, default=2020, help="of the settings' draw")
    sweep.add_argument("--output", metavar="DIR", help="the sweep's folder; goes on with one")

    prepare = command("prepare", _prepare, "convert a dataset's own files for RecBole")
    prepare.add_argument(
        "name", help="gowalla, yelp2018, amazon-book, kuairand-pure, or a name of your own"
    )
    prepare.add_argument(
        "--source",
        required=True,
        help="folder of LightGCN's train.txt and test.txt (.gz), or of KuaiRand's CSV files",
    )
    prepare.add_argument("--output", default="dataset", help="where to write (default: dataset)")
    prepare.add_argument("--force", action="store_true", help="write even if nothing has changed")

    command("models", _models, "list every model: name, origin, citation")

    recommend = command(
        "recommend", _recommend, "print a user's best unseen items", epilog=RECOMMEND_EPILOG
    )
    recommend.add_argument("--checkpoint", required=True, metavar="DIR", help="a run's folder")
    recommend.add_argument("--users", required=True, help="external user ids: 42,17")
    recommend.add_argument("--k", type=int, default=10, help="items per user (default: 10)")
    _add_search_arguments(recommend)

    export = command(
        "export", _export, "write lists, vectors and index as files", epilog=EXPORT_EPILOG
    )
    export.add_argument("--checkpoint", required=True, metavar="DIR", help="a run's folder")
    export.add_argument("--output", required=True, metavar="DIR", help="where to write")
    export.add_argument("--k", type=int, default=20, help="items per user (default: 20)")
    export.add_argument("--format", default="csv", help="csv | parquet, of the lists")
    export.add_argument("--users", help="external user ids: 42,17 (default: all)")
    _add_search_arguments(export)
    export.add_argument("--force", action="store_true", help="write over an earlier export")

    explain = command("explain", _explain, "show a user's path through the index")
    explain.add_argument("--checkpoint", required=True, metavar="DIR", help="a HILL run's folder")
    explain.add_argument("--user", required=True, help="an external user id")
    explain.add_argument("--k", type=int, default=5, help="nodes and items per level (default: 5)")

    report = command("report", _report, "print finished runs as a table", epilog=REPORT_EPILOG)
    report.add_argument("runs", nargs="*", metavar="RUN", help="runs' folders, or rows.jsonl files")
    report.add_argument("--dataset", help="report all studies on this dataset")
    report.add_argument("--reference", metavar="ROW", help="what a study's significance is against")
    _add_studies_argument(report)
    kind = report.add_mutually_exclusive_group()
    kind.add_argument("--table", metavar="N", help="compare models beside the paper's table N")
    kind.add_argument(
        "--serving", action="store_true", help="MoNN, HSNN ...: what they know and a request costs"
    )
    kind.add_argument("--ablation", action="store_true", help="compare settings of one model")

    command("doctor", _doctor, "check this environment; exit status 1 if the main job cannot run")
    for sub in commands.choices.values():
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _add_studies_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--output",
        default="studies",
        metavar="DIR",
        help="folder of all studies (default: studies)",
    )


def _add_search_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--retrieval", help="exact | beam | faiss (default: the run's setting)")
    command.add_argument(
        "--beam_width",
        metavar="N",
        help='nodes kept per depth by beam and faiss: 60, "[20, 60]" (coarsest first) or full',
    )
    command.add_argument(
        "--node_score",
        help="mean | best: keep nodes by what their items score on average, or what the best of "
        "them is expected to (default: the run's setting)",
    )


def _overrides(extra: Sequence[str]) -> dict:
    """Parses ``--key=value`` the way RecBole's command line does, strictly."""
    overrides: dict = {}
    if extra:  # `doctor` has none, and must not need what the configuration imports
        from recbole_hill.config import parse_value
    for argument in extra:
        key, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not equals or not key:
            raise ValueError(
                f"cannot read argument {argument!r}; settings are given as --key=value"
            )
        if key in overrides:
            raise ValueError(f"--{key} is given twice")
        overrides[key] = parse_value(value)
    return overrides


def _run(arguments) -> None:
    os.environ.setdefault("TQDM_MININTERVAL", "1")
    _hush_libraries()
    from recbole_hill.quick_start import run
    from recbole_hill.report.tables import arms_table

    overrides = arguments.overrides
    if arguments.protocol:
        overrides["protocol"] = arguments.protocol
    result = run(
        arguments.model,
        arguments.dataset,
        config_files=arguments.config_files.split() if arguments.config_files else None,
        overrides=overrides,
        resume=arguments.resume,
    )
    print(arms_table(result.rows))
    print(f"\nkept in {result.folder}")


def _stream(arguments) -> None:
    _hush_libraries()
    from recbole_hill.report.tables import stream_table
    from recbole_hill.streaming import run_stream

    files = arguments.config_files.split() if arguments.config_files else None
    records = run_stream(
        arguments.model,
        arguments.dataset,
        slices=arguments.slices,
        keep=arguments.keep,
        overrides=arguments.overrides,
        config_files=files,
    )
    print(stream_table(records))


def _table(arguments) -> int:
    _hush_libraries()
    from recbole_hill.study.command import run_table

    return run_table(
        arguments.number,
        datasets=_names(arguments.dataset or ""),
        rows=_names(arguments.models) if arguments.models else None,
        seeds=_names(arguments.seeds),
        protocol=arguments.protocol,
        settings=arguments.overrides,
        root=arguments.output,
        jobs=arguments.jobs,
        threads=arguments.threads,
        memory=arguments.memory,
        ray_address=arguments.ray_address,
        gpus=arguments.gpus,
        time_budget=arguments.time_budget,
        dry_run=arguments.dry_run,
        retry_failed=arguments.retry_failed,
        backbone_from=arguments.backbone_from,
        reference=arguments.reference,
    )


def _sweep(arguments) -> None:
    os.environ.setdefault("TQDM_MININTERVAL", "1")
    _hush_libraries()
    from recbole_hill.report.sweep import sweep_table
    from recbole_hill.tuning.sweep import run_sweep

    result = run_sweep(
        arguments.model,
        arguments.dataset,
        space=arguments.space,
        strategy=arguments.strategy,
        trials=arguments.trials,
        time_budget=arguments.time_budget,
        jobs=arguments.jobs,
        ray_address=arguments.ray_address,
        output=arguments.output,
        overrides=arguments.overrides,
        config_files=arguments.config_files.split() if arguments.config_files else None,
        seed=arguments.draw_seed,
    )
    print(sweep_table(result))


def _hush_libraries() -> None:
    """Leaves out what PyTorch deprecates in RecBole, and its notes on sparse tensors.

    They are not the user's to mend.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module="recbole")
    warnings.filterwarnings("ignore", message=r"Sparse|torch\.sparse", category=UserWarning)


def _prepare(arguments) -> None:
    from recbole_hill.data.prepare import prepare

    print(prepare(arguments.name, arguments.source, arguments.output, force=arguments.force))


def _models(arguments) -> None:
    from recbole_hill import registry

    entries = registry.entries()
    names = [
        f"{entry.name} ({', '.join(entry.aliases)})" if entry.aliases else entry.name
        for entry in entries
    ]
    name_width = max(map(len, names))
    origin_width = max(len(entry.origin) for entry in entries)
    for name, entry in zip(names, entries, strict=True):
        print(f"{name:{name_width}}  {entry.origin:{origin_width}}  {entry.citation or '-'}")


def _recommend(arguments) -> None:
    _hush_libraries()
    from recbole_hill.serving import Served

    users = _names(arguments.users)
    lists = Served.load(arguments.checkpoint).recommend(users, arguments.k, **_search(arguments))
    for user, listed in zip(users, lists, strict=True):
        for rank, (item, score) in enumerate(listed, start=1):
            print(f"{user}\t{rank}\t{item}\t{score:.6f}")


def _export(arguments) -> None:
    _hush_libraries()
    from recbole_hill.export import export

    manifest = export(
        arguments.checkpoint,
        arguments.output,
        k=arguments.k,
        file_format=arguments.format,
        users=None if arguments.users is None else _names(arguments.users),
        **_search(arguments),
        force=arguments.force,
        progress=True,
    )
    for file, facts in manifest["files"].items():
        print(f"{file:23}  {facts['what']}")
    if "vectors" in manifest:
        print(f"vectors: {manifest['vectors']}")
    print(f"\nkept in {arguments.output}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _search(arguments) -> dict:
    from recbole_hill.config import parse_value

    width = arguments.beam_width
    return {
        "retrieval": arguments.retrieval,
        "beam_width": None if width is None else parse_value(width),
        "node_score": arguments.node_score,
    }


def _explain(arguments) -> None:
    _hush_libraries()
    from recbole_hill.serving import Served

    print(Served.load(arguments.checkpoint).explain(arguments.user, arguments.k))


def _report(arguments) -> None:
    _hush_libraries()
    from recbole_hill.report.seeds import read_rows, seeds_table

    if arguments.dataset:
        from recbole_hill.study.command import report_dataset

        report_dataset(arguments.dataset, arguments.output, reference=arguments.reference)
        return
    if not arguments.runs:
        raise ValueError("report needs runs' folders, or --dataset for the studies on a dataset")
    rows = read_rows(arguments.runs)
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


def _doctor(arguments) -> int:
    from recbole_hill import doctor

    return doctor.run(sys.stdout)
