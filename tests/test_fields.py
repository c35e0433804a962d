"""Feature columns as tensors: what train knows, and nothing else."""

import impressions
import pytest
import torch

from recbole_hill.config.config import HillConfig
from recbole_hill.data.fields import FieldEncoder
from recbole_hill.data.splits import load_data


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = impressions.write(tmp_path_factory.mktemp("log"))
    config = HillConfig("MoNN", "log", None, impressions.settings(path))
    return load_data(config).train._dataset


NAMES = ["item_id", "category", "tags", "price", "constant"]


def test_values_that_train_never_saw_are_unknown(dataset):
    rows = dataset.get_item_feature()
    known = torch.arange(1, 20)
    encoder = FieldEncoder(rows, NAMES, dataset, known)
    encoded = encoder.encode(rows, len(rows))
    assert encoder.token_fields == ("item_id", "category") and encoder.bag_fields == ("tags",)
    ids = encoded.tokens[:, 0]
    assert (ids[known] > 0).all() and len(ids[known].unique()) == 19
    assert (ids[20:] == 0).all() and ids[0] == 0
    # Categories are those of known items, so that new items share them.
    assert (encoded.tokens[20:, 1] > 0).all()
    fields = [encoded.tokens[:, 0], encoded.tokens[:, 1], encoded.bags[0]]
    held = [set(field[field > 0].tolist()) for field in fields]
    assert not held[0] & held[1] and not held[1] & held[2]
    assert max(max(part) for part in held) == encoder.vocabulary - 1


def test_numbers_are_normalised_from_train(dataset):
    rows = dataset.get_item_feature()
    known = torch.arange(1, 20)
    encoder = FieldEncoder(rows, NAMES, dataset, known)
    assert encoder.float_fields == ("price",)  # the same number everywhere tells nothing
    values = rows["price"].double()
    mean, spread = values[known].mean(), values[known].std(correction=0)
    expected = ((values - mean) / spread).float()
    torch.testing.assert_close(encoder.encode(rows, len(rows)).floats[:, 0], expected)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_numbers_may_be_of_any_size(dataset, scale):
    known, price = torch.arange(1, 20), dataset.get_item_feature()["price"].double()
    (found, expected) = (
        FieldEncoder(rows, ["price"], dataset, known).encode(rows, len(price)).floats
        for rows in ({"price": price * scale}, {"price": price})
    )
    torch.testing.assert_close(found, expected)
    constant = {"price": torch.full((20,), 0.1 * scale, dtype=torch.float64)}
    assert FieldEncoder(constant, ["price"], dataset, known).float_fields == ()


def test_the_whole_catalogue_is_known_but_not_normalised_by(dataset):
    rows, known = dataset.get_item_feature(), torch.arange(1, 20)
    part, whole = (
        FieldEncoder(rows, NAMES, dataset, known, whole=whole) for whole in (False, True)
    )
    every = part.encode(rows, len(rows)), whole.encode(rows, len(rows))
    assert torch.equal(every[0].floats, every[1].floats)
    assert (every[1].tokens[1:] > 0).all() and not (every[0].tokens[20:, 0] > 0).any()


def test_columns_that_rows_lack_are_missing(dataset):
    rows = dataset.get_item_feature()
    encoder = FieldEncoder(rows, NAMES, dataset, torch.arange(1, len(rows)))
    encoded = encoder.encode({}, 3)
    assert encoded.tokens.shape == (3, 2) and not encoded.tokens.any()
    assert not encoded.floats.any() and not encoded.bags[0].any()


def test_a_number_that_is_none_is_named(dataset):
    rows = {"price": torch.tensor([0.0, 1, float("inf")])}
    with pytest.raises(ValueError, match="feature 'price' must be finite, got inf in row 2"):
        FieldEncoder(rows, ["price"], dataset, torch.arange(3))
