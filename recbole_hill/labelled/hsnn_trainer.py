"""HSNN's training: first the item layer alone, then all layers together with the index."""

import torch

from recbole_hill.labelled.search import BLOCK_PAIRS
from recbole_hill.labelled.trainer import LabelledTrainer

_STAGE, _FILE = "item_layer", "item_layer.safetensors"


class HSNNTrainer(LabelledTrainer):
    """Trains the item layer alone before RecBole's loop, as the stage ``item_layer``.

    The index then starts from trained item embeddings.

    Settings: ``item_epochs`` (number of epochs of this stage). An index that is learnt separately
    is learnt from the item embeddings of this stage.
    """

    def train_epochs(self, train_data, valid_data):
        """Trains the item layer, makes the first index, and trains all layers; resumes or skips."""
        if "backbone" not in self.stages:
            self.train_item_layer(train_data)
            self.seed_stage("backbone", train_data)
            self.model.start_index(len(train_data))
            self.optimizer = self._build_optimizer()
        return super().train_epochs(train_data, valid_data)

    @torch.no_grad()
    def serving_cost(self, data) -> dict:
        """Adds ``layers``: value metrics on the test rows after each layer, coarsest first."""
        cost, rows = super().serving_cost(data), data.test._dataset.inter_feat
        users, items = rows[self.model.USER_ID], rows[self.model.ITEM_ID]
        context = self.model.data.context_of(rows, len(users))
        blocks = torch.arange(len(users)).split(BLOCK_PAIRS)
        parts = [
            self.model.layer_judgements(users[some], items[some], context[some], items[some])
            for some in blocks
        ]
        layers = [torch.cat(of_layer).sigmoid().cpu() for of_layer in zip(*parts, strict=True)]
        return {**cost, "layers": [dict(self.judge(layer, rows)) for layer in layers]}

    def train_item_layer(self, train_data) -> None:
        """Trains the item layer alone, or loads it if the stage is finished."""
        if _STAGE in self.stages:
            self.load_stage(_FILE)
            return
        self.run_stage(
            _STAGE,
            self.config["item_epochs"],
            train_data,
            self.model.item_layer_loss,
            learning_rate=self.learning_rate,
        )
        self.finish_stage(_STAGE, save_as=_FILE)
