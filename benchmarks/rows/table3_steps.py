"""Training steps of Table 3's models, beside the same losses computed plainly."""

from math import factorial
from typing import ClassVar
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hill.data.graph import product
from recbole_hill.host.dropout import dropout
from recbole_hill.model.baselines.impgcn import grouped
from rows import jobs
from rows.row import Row, largest_difference, require_close

STEPS = 2


class Step(Row):
    """A model's own steps, beside a plain computation of the same loss."""

    model: ClassVar[str]

    def prepare(self) -> None:
        """Builds the model, past any warm-up."""
        self.job = jobs.ours(self.setting, self.model)
        self.job.model.begin_epoch(self.job.config["epochs"])

    def plain_loss(self, batch) -> Tensor:
        """Returns the loss of a batch, computed plainly."""
        raise NotImplementedError

    def ours(self):
        """Takes our steps."""
        self.job.steps(STEPS)

    def peer(self):
        """Takes the plain steps."""
        with patch.object(self.job.model, "calculate_loss", self.plain_loss):
            self.job.steps(STEPS)

    def check(self) -> str:
        """Compares loss and gradients of one batch, without dropout."""
        model, batch, found = self.job.model.eval(), self.job.batch(), []
        for loss_of in (model.calculate_loss, self.plain_loss):
            model.zero_grad()
            torch.manual_seed(0)
            loss = loss_of(batch)
            loss.backward()
            gradients = (p.grad for p in model.parameters() if p.grad is not None)
            found.append([loss.detach(), *(gradient.clone() for gradient in gradients)])
        model.train()
        differences = [largest_difference(*pair) for pair in zip(*found, strict=True)]
        return require_close(max(differences), 1e-3, "loss and gradients of one batch")


class FromAll(Step):
    """Beside the loss from the vectors of all nodes, of which a batch needs few."""

    beside = "the same from the vectors of all users and items"

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Returns the vectors of all users and items."""
        return self.job.model.user_item_embeddings()

    def plain_loss(self, batch) -> Tensor:
        """Returns the loss from all vectors."""
        return self.job.model.embedding_loss(*self.vectors(), batch)


class PlainNodes(FromAll):
    """Beside the vectors of all nodes as the formula is written."""

    beside = "the same as its formula is written, from the vectors of all users and items"

    def nodes(self, model, ego: Tensor) -> Tensor:
        """Returns all node vectors, (U + I, D)."""
        raise NotImplementedError

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Returns the vectors of all users and items."""
        model = self.job.model
        return self.nodes(model, model.ego()).split((model.n_users, model.n_items))


class EdgeByEdge(PlainNodes):
    """GTN's dual values of all edges."""

    def nodes(self, model, ego: Tensor) -> Tensor:
        """Returns the trend filter with its clips."""
        return dropout(model.edge_by_edge(ego), model.dropout_rate, model.training)


class EveryMessage(PlainNodes):
    """IMP-GCN's products layer by layer."""

    def nodes(self, model, ego: Tensor) -> Tensor:
        """Returns the mean of the layers."""
        adjacency, users, items = model.graph.normalized(), model.n_users, model.n_items
        total = ego + product(adjacency, ego)
        within = grouped(model.graph, model.groups(ego), model.n_groups)
        x = torch.cat((ego[:users], ego[users:].repeat(model.n_groups, 1)))
        for _ in range(1, model.n_layers):
            message = product(within, x)
            x = x + message
            copies = message[users:].view(model.n_groups, items, -1).sum(0)
            total = total + product(adjacency, torch.cat((message[:users], copies)))
        return total / (model.n_layers + 1)


class RungeKutta(PlainNodes):
    """LT-OCF's blocks one after another."""

    def nodes(self, model, ego: Tensor) -> Tensor:
        """Returns the mean of E and the blocks' outputs."""
        adjacency, state, total = model.graph.normalized(), ego, ego
        for length in model.times().diff():
            term, block = state, 0.0
            for power in range(1, model.order + 1):
                term = product(adjacency, term)
                block = block + length**power / factorial(power) * term
            state = block
            total = total + state
        return total / (model.n_layers + 1)


class Diffusion(PlainNodes):
    """MGDCF's and APPNP's diffusion layer by layer."""

    def nodes(self, model, ego: Tensor) -> Tensor:
        """Returns the diffused node vectors, with dropout before and after."""
        nodes = x = dropout(ego, model.input_dropout, model.training)
        adjacency = model.adjacency()
        for _ in range(model.n_layers):
            nodes = model.beta * product(adjacency, nodes) + model.alpha * x
        return dropout(nodes / model.gamma, model.output_dropout, model.training)


class DenseRows(Step):
    """An auto-encoder whose first layer multiplies rows of all items."""

    beside = "the same with dense rows of all items, as RecBole multiplies them"

    def encode(self, rows, values: Tensor) -> Tensor:
        """Returns the encoder's output of dense rows."""
        model = self.job.model
        dense = values.new_zeros(len(rows.crow) - 1, model.n_items)
        dense[rows.row, rows.item] = values
        return model.encoder(dropout(F.normalize(dense), model.drop_out, model.training))

    def plain_loss(self, batch) -> Tensor:
        """Returns the loss with the dense rows."""
        with patch.object(self.job.model, "encode", self.encode):
            return type(self.job.model).calculate_loss(self.job.model, batch)

    def check(self) -> str:
        """Compares at one number of updates, on which the KL term's weight depends."""
        with patch.object(self.job.model, "total_anneal_steps", 0):
            return super().check()


def _row(kind: type[Step], model: str, at_least: float) -> type[Step]:
    """Returns the row of a model."""
    what = f"{model}, {STEPS} training steps"
    return type(model, (kind,), {"model": model, "what": what, "at_least": at_least})


ROWS = [
    _row(FromAll, "GC-MC", 2.0),
    _row(FromAll, "PinSage", 1.3),
    _row(FromAll, "GAT", 1.3),
    _row(FromAll, "DisenGCN", 2.0),
    _row(FromAll, "DGCF", 1.1),
    _row(FromAll, "NIA-GCN", 1.5),
    _row(FromAll, "BUIR", 1.3),
    _row(FromAll, "DeosGCF", 1.1),
    _row(EveryMessage, "IMP-GCN", 1.4),
    _row(EdgeByEdge, "GTN", 5.0),
    _row(RungeKutta, "LT-OCF", 1.1),
    _row(Diffusion, "MGDCF", 1.05),
    _row(Diffusion, "APPNP", 1.1),
    _row(DenseRows, "Mult-VAE", 1.3),
    _row(DenseRows, "Macrid-VAE", 2.0),
]
