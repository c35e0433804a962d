"""Bad command lines: status 1, one line that names key and value, and nothing is left behind."""

import os

import pytest

from recbole_hill.cli import main

RUN = ["--model=BPR", "--dataset=tiny", "--epochs=1", "--state=ERROR", "--show_progress=False"]
HILL = ["--model=HILL", "--dataset=tiny", "--state=ERROR", "--topk=[10]", "--valid_metric=NDCG@10"]
SWEEP = ["sweep", "--model=BPR", "--dataset=tiny"]
STREAM = ["stream", "--model=HSNN", "--dataset=ml-100k"]
TABLE = ["table", "3", "--dataset=tiny"]

#: Settings of a run, each with what its refusal says.
SETTINGS = [
    ("learning_rate=abc", "learning_rate must be a number above 0, got 'abc'"),
    ("learning_rate=.nan", "learning_rate must be a number above 0, got nan"),
    ("seed=abc", "seed must be an integer in [0, 4294967295], got 'abc'"),
    ("seed=-1", "seed must be an integer in [0, 4294967295], got -1"),
    ("epochs=0", "epochs must be an integer >= 1, got 0 without warm_start"),
    ("epochs=1.0", "epochs must be an integer >= 0, got 1.0"),
    ("epochs=~", "epochs must be an integer >= 0, got ~"),
    ("metrics=[Recal]", "metrics must be among AUC, "),
    ("metrics=[Recall, AUC]", "metrics must be all of lists (Recall ...) or all of predictions"),
    ("embedding_size=True", "embedding_size must be an integer >= 1, got True"),
    ("clip_grad_norm=10", "clip_grad_norm must be {max_norm: a number above 0} or ~, got 10"),
    ("clip_grad_norm={max_norm: no}", "clip_grad_norm max_norm must be a number above 0"),
    ("load_col=[user_id]", "load_col must be lists of columns by file"),
    ("learner=lion", "learner must be one of adam, adamw, sgd, adagrad, rmsprop, sparse_adam"),
    ("nproc=2", "nproc must be 1 (run one seed per GPU, each with its device=cuda:N), got 2"),
    ("gpu_id=3", "gpu_id must be 0 (a run uses one GPU, and device=cuda:N chooses it), got 3"),
    ("threads=100000", "threads must be an integer in [1, 512] or ~, got 100000"),
    ("reject_positives=maybe", "reject_positives must be true or false, got 'maybe'"),
    ("topk=[10, 0]", "topk must be a list of integers >= 1, got [10, 0]"),
    ("topk=[20, 5000]", "topk [20, 5000] asks for longer lists than there are items (48)"),
    ("eval_args={splits: 1}", "eval_args must be settings among split, order, group_by, mode"),
    ("eval_args={split: {RS: [1]}}", "eval_args split RS must be a list of two or three numbers"),
    ("eval_args={order: XO}", "eval_args order must be one of RO, TO, got 'XO'"),
    ("eval_args={group_by: item}", "eval_args group_by must be one of user, none, ~, got 'item'"),
    ("eval_args={mode: uni}", "eval_args mode must be full, labeled, uniN or popN"),
    ("train_neg_sample_args={distribution: x}", "train_neg_sample_args distribution must be one"),
    ("benchmark_filename=train", "benchmark_filename must be two names (train, test), three"),
    ("val_interval={rating: high}", "val_interval must be column: interval"),
    ("user_inter_num_interval=5", "user_inter_num_interval must be an interval such as"),
    ("user_inter_num_interval=", "--user_inter_num_interval must not be empty"),
    ("valid_metric=MRR@10", "valid_metric 'MRR@10' must be one of the metrics"),
    ("valid_metric=NDCG", "give valid_metric too, such as --valid_metric=NDCG@10"),
    ("topk=[5]", "give valid_metric too, such as --valid_metric=NDCG@5"),
    ("device=tpu", "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
    ("protocol=test", "protocol must be one of holdout, refit, published, got 'test'"),
    ("backbone=X", "unknown key 'backbone' for model BPR"),
    ("lr_rule=cosine", "lr_rule must be one of constant, exponential, linear, plateau"),
    ("neg_sampling=5", "unknown key 'neg_sampling' for model BPR"),
]

COMMANDS = [
    (
        ["--model=TTSN", "--dataset=ml-100k", "--valid_metric=AUC@10"],
        "one of the metrics NE, AUC, ",
    ),
    ([*HILL, "--backbone=HILL"], "backbone must be"),
    ([*HILL, "--index_learning="], "--index_learning must not be empty"),
    ([*HILL, "--nodes_per_depth=[12, 4000]"], "4000 nodes for 48 items"),
    ([*HILL, "--phi_dep=5", "--nodes_per_depth=[12]"], "phi_dep 5 needs as many depths"),
    ([*HILL, "--beam_width=[1, 2, 3]", "--nodes_per_depth=[12, 4]"], "beam_width must be"),
    ([*HILL, "--eval_args={mode: uni100}"], "eval_args mode of the test must be full for HILL"),
    (["--model=BPR", "--dataset=../tiny"], "dataset must be a dataset's name, not a path"),
    (["--model=BPR", "--dataset=nosuch"], "hill prepare nosuch --source=PATH"),
    (["--model=BPR", "--dataset="], "--dataset must not be empty"),
    (["--model=BPR", "--dataset=tiny", "--model=Pop"], "--model is given twice"),
    (["--model=EASE", "--dataset=tiny", "--reg_weight=0"], "reg_weight must be a number above 0"),
    (["--model=BPR", "--dataset=tiny", "--config_files=bad.yaml"], "key 'epochs' stands twice"),
    (["--model=BPR", "--dataset=tiny", "--resume="], "--resume must not be empty"),
    ([*SWEEP[:2], "--dataset=nosuch"], "hill prepare nosuch --source=PATH"),
    ([*SWEEP, "--jobs=x"], "--jobs must be an integer in [1, 512], got 'x'"),
    ([*SWEEP, "--trials=0"], "--trials must be an integer >= 1, got '0'"),
    ([*SWEEP, "--draw_seed=-1"], "--draw_seed must be an integer in [0, 4294967295], got '-1'"),
    ([*SWEEP, "--strategy=best"], "strategy must be one of asha, random, grid, got 'best'"),
    ([*SWEEP, "--time_budget=long"], "time_budget must be like 90s, 30m, 2h or 1d, got 'long'"),
    ([*SWEEP, "--space=space.yaml"], "n_negatives must be an integer >= 1, got 0"),
    ([*SWEEP, "--space=bad.yaml"], "key 'epochs' stands twice (line 2)"),
    ([*SWEEP, "--learning_rate=abc"], "learning_rate must be a number above 0, got 'abc'"),
    ([*STREAM, "--slices=1"], "--slices must be an integer >= 2, got '1'"),
    ([*STREAM, "--keep=no"], "--keep must be an integer >= 1, got 'no'"),
    ([*STREAM, "--epochs=0"], "epochs must be an integer >= 1, got 0"),
    ([*STREAM, "--slices=1000000"], "slices 1000000 are more than 100000 impressions"),
    ([*TABLE, "--models="], "--models must be names separated by commas, got ''"),
    ([*TABLE, "--seeds=1,1"], "--seeds must be different integers, got '1,1'"),
    ([*TABLE, "--seeds=1,b"], "--seeds must be an integer in [0, 4294967295], got 'b'"),
    ([*TABLE, "--threads=100000"], "--threads must be an integer in [1, 512], got '100000'"),
    ([*TABLE, "--gpus=-1"], "--gpus must be a number >= 0, got '-1'"),
    ([*TABLE, "--memory=lots"], "memory must be like 16g or 500m, got 'lots'"),
    ([*TABLE, "--protocol=test"], "protocol must be one of holdout, refit, published, got 'test'"),
    ([*TABLE, "--models=BPR", "--epochs=no"], "row 'BPR': epochs must be an integer >= 0"),
    (
        ["table", "3", "--dataset=nosuch", "--models=BPR"],
        "hill prepare nosuch --source=PATH",
    ),
    (["table", "33"], "table must be one of 1, 2, 3"),
    (
        ["export", "--checkpoint=RUN", "--output=out", "--k=0"],
        "--k must be an integer >= 1, got '0'",
    ),
    (["export", "--checkpoint=RUN", "--output=out", "--format=xml"], "format must be one of csv"),
    (["export", "--checkpoint=RUN", "--output=out", "--users=,"], "--users must be names"),
    (["export", "--checkpoint=RUN", "--output=out", "--user=4711"], "user '4711' is not in tiny"),
    (["export", "--checkpoint=RUN", "--output=out", "--users_file=none"], "--users_file none does"),
    (["recommend", "--checkpoint=RUN"], "no user given: say --users=42,17"),
    (["recommend", "--checkpoint=RUN", "--user=1", "--k=two"], "--k must be an integer >= 1"),
    (["recommend", "--checkpoint=RUN", "--user=1", "--beam_width=0"], "--beam_width must be an"),
    (["recommend", "--checkpoint=RUN", "--user=1", "--retrieval=x"], "--retrieval must be one of"),
    (["recommend", "--checkpoint=RUN", "--user="], "--user must not be empty, got ''"),
    (["report", "--dataset=../x"], "--dataset must be a dataset's name, not a path"),
    (["report", "RUN", "--table=33"], "'33'"),
    (["prepare", "a/b", "--source=."], "dataset name must be"),
    (["explain", "--checkpoint=RUN"], "the following arguments are required: --user"),
    (["nosuch"], "invalid choice: 'nosuch'"),
]


@pytest.mark.parametrize(("setting", "message"), SETTINGS)
def test_a_setting_is_refused(setting, message, tiny_path, in_tmp, capsys):
    settings = [f"--data_path={tiny_path}", f"--{setting}"]
    kept = [word for word in RUN if word.partition("=")[0] != f"--{setting.partition('=')[0]}"]
    refused([*kept, *settings], message, in_tmp, capsys)


@pytest.mark.parametrize(("argv", "message"), COMMANDS)
def test_a_command_is_refused(argv, message, tiny_path, run_folder, in_tmp, capsys):
    (in_tmp / "bad.yaml").write_text("epochs: 1\nepochs: 2\n")
    (in_tmp / "space.yaml").write_text("n_negatives: {choice: [1, 0]}\n")
    argv = [word.replace("RUN", str(run_folder)) for word in argv]
    if "--dataset=tiny" in argv:
        argv.append(f"--data_path={tiny_path}")
    refused(argv, message, in_tmp, capsys)


def refused(argv, message, folder, capsys):
    before = everything(folder)
    assert main(argv) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ") and message in lines[-1]
    assert everything(folder) == before


def everything(folder):
    return sorted((root, *names) for root, _, names in os.walk(folder))
