"""HSNN's training: the item layer alone first, then all layers with the index."""

import torch

from recbole_hill.labelled.search import BLOCK_PAIRS
from recbole_hill.labelled.trainer import LabelledTrainer

_STAGE, _FILE = "item_layer", "item_layer.safetensors"


class HSNNTrainer(LabelledTrainer):
    """Runs the stage ``item_layer`` before RecBole's loop, so that the index begins from something.

    Settings: ``item_epochs`` (of that stage; an index that is learnt separately is of its items).
    """

    def train_epochs(self, train_data, valid_data):
        """Trains the item layer, begins the index, and trains everything; resumes or skips."""
        if "backbone" not in self.stages:
            self.train_item_layer(train_data)
            self.seed_stage("backbone", train_data)
            self.model.start_index(len(train_data))
            self.optimizer = self._build_optimizer()
        return super().train_epochs(train_data, valid_data)

    @torch.no_grad()
    def serving_cost(self, data) -> dict:
        """Adds how well the ensemble judges after each layer: ``layers``, metrics on the test."""
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
        """Trains the item layer alone, or loads it if that was done."""
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
