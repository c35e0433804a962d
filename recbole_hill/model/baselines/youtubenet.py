"""YouTubeNet: a user is the mean of their items, trained by sampled softmax, as in BARS.

Reference:
    Paul Covington et al. "Deep Neural Networks for YouTube Recommendations." in RecSys 2016.
"""

import torch
from torch import Tensor, nn

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.model.bases.factorization import SampledModel, SampledScores
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.history import history_means
from recbole_hill.model.losses import sampled_softmax


class YouTubeNet(SampledModel):
    """Scores <mean of the history's item vectors, item vector>; one table, no user ids, no MLP.

    The published row ran this model, as its number of parameters shows. It did not run the network
    of 2016, which needs watch sequences and ages. In training the target is left out of its user's
    mean. A user with one item then has a zero vector.

    BARS's log shows the mean over the entries of a history, cut to 500 items. Here histories are
    not cut. The log has no loss by name and no similarity: softmax over 1 + n inner products is
    taken from its values (5.39 after the first epoch; ln 801 is 6.69). The trainer is the one of
    MF-CCL and SimpleX, in reczoo/RecBox: Adam, L2 of whole tables, gradients cut to norm 10, and a
    tenth of the rate from the best epoch's weights after an epoch without a better recall.

    Settings: :class:`~recbole_hill.model.bases.factorization.DeviceSampling`'s, ``embedding_size``,
    ``init_std``, ``reg_weight`` (weight of half the whole table's squared norm).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.item_embedding = nn.Embedding(self.n_items, config["embedding_size"])
        nn.init.normal_(self.item_embedding.weight, std=config["init_std"])
        self.reg_weight = config["reg_weight"]
        self.graph = InteractionGraph(train_matrix(dataset))

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the means of the whole histories, and the item table."""
        items = self.item_embedding.weight
        everyone = torch.arange(self.n_users, device=items.device)
        return history_means(self.graph, items, everyone), items

    def calculate_loss(self, interaction) -> Tensor:
        """The loss, with means of the batch's users alone."""
        return self.embedding_loss(None, self.item_embedding.weight, interaction)

    def embedding_loss(self, users: Tensor | None, items: Tensor, interaction) -> Tensor:
        """Sampled softmax; a user's mean leaves out the target of the row, unlike in ``users``."""
        user, positive, negative = self.draw(interaction)
        query = history_means(self.graph, items, user, positive)
        scores = SampledScores.apply(query, items, torch.cat((positive.unsqueeze(1), negative), 1))
        loss = sampled_softmax(scores[:, 0], scores[:, 1:])
        return loss + self.reg_weight / 2 * items.square().sum()
