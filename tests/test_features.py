"""A model that needs features the data lacks says which, before anything is loaded."""

import impressions
import pytest

from recbole_hill.config.config import HillConfig
from recbole_hill.data.features import require_features
from recbole_hill.data.splits import load_data


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("KGAT", FileNotFoundError, r"KGAT needs a knowledge graph, which tiny lacks: .*tiny\.kg"),
        ("SASRec", ValueError, r"SASRec needs the time .* TIME_FIELD 'timestamp' is not among"),
        ("DeepFM", ValueError, r"DeepFM needs a label .* LABEL_FIELD 'label' .* user_id, item_id"),
    ],
)
def test_missing_features_are_named(tiny_path, model, error, message):
    changes = {"train_neg_sample_args": None} if model == "SASRec" else {}
    config = HillConfig(model, "tiny", None, {"data_path": str(tiny_path), **changes})
    with pytest.raises(error, match=message):
        load_data(config)


def test_columns_that_load_col_leaves_out_are_missing():
    config = HillConfig("SASRec", "ml-100k", None, {"train_neg_sample_args": None})
    with pytest.raises(ValueError, match=r"are read of ml-100k\.inter, user_id, item_id"):
        require_features(config)


def test_columns_that_unload_col_leaves_out_are_missing(tmp_path):
    settings = impressions.settings(impressions.write(tmp_path))
    settings |= {"load_col": None, "unload_col": {"inter": ["stars"]}}
    message = r"'stars' is not among .* log\.inter, user_id, item_id, place, timestamp \(see"
    with pytest.raises(ValueError, match=message):
        require_features(HillConfig("MoNN", "log", None, settings))


def test_features_that_are_there_suffice():
    settings = {"load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}}
    require_features(HillConfig("DeepFM", "ml-100k", None, {**settings, "LABEL_FIELD": "rating"}))
    sequential = {**settings, "train_neg_sample_args": None}
    require_features(HillConfig("SASRec", "ml-100k", None, sequential))
