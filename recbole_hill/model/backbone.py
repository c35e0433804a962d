"""The interface between HILL and any backbone: the backbone's user and item vectors."""

from torch import Tensor, nn

from recbole_hill.host.forward import forward_results

#: RecBole's models whose vectors are their two embedding tables.
_TABLES_ARE_VECTORS = frozenset({"BPR", "LINE"})
#: RecBole's models whose ``forward()`` returns all user and all item vectors.
_FORWARD_GIVES_VECTORS = frozenset({"LightGCN", "NGCF"})
_ADAPTED = _TABLES_ARE_VECTORS | _FORWARD_GIVES_VECTORS | {"NCL", "SGL"}
#: RecBole's models whose loss is the sum over a batch's rows.
_SUMS = frozenset({"SGL"})


def _adapter(model: nn.Module | type) -> str | None:
    """Returns the supported RecBole model that the model is or derives from, by name; or None."""
    kinds = model if isinstance(model, type) else type(model)
    names = (kind.__name__ for kind in kinds.__mro__)
    return next((name for name in names if name in _ADAPTED), None)


def has_embeddings(model: nn.Module | type) -> bool:
    """Returns whether a model's score is one inner product of user vector and item vector.

    Args:
        model: The model or its class.
    """
    return hasattr(model, "user_item_embeddings") or _adapter(model) is not None


def sums_over_batch(model: nn.Module) -> bool:
    """Returns whether a backbone's loss is the sum over a batch's rows, and not their mean."""
    return getattr(model, "sums_over_batch", _adapter(model) in _SUMS)


def loss_and_embeddings(model: nn.Module, interaction) -> tuple[Tensor, Tensor, Tensor]:
    """Returns a backbone's loss on a batch with the vectors from which it was computed.

    This takes one forward pass. For RecBole's models whose ``forward()`` does not return the
    vectors, it takes two.

    Returns:
        The loss, user vectors (U + 1, D) and item vectors (I + 1, D), padding row first.
    """
    if hasattr(model, "embedding_loss"):
        users, items = model.user_item_embeddings()
        return model.embedding_loss(users, items, interaction), users, items
    if _adapter(model) not in _FORWARD_GIVES_VECTORS:
        vectors, loss = user_item_embeddings(model), model.calculate_loss(interaction)
    else:
        with forward_results(model) as results:
            loss = model.calculate_loss(interaction)
        (vectors,) = results
    return (sum(loss) if isinstance(loss, tuple) else loss), *vectors


def user_item_embeddings(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Returns a backbone's differentiable vectors, (U + 1, D) and (I + 1, D), padding row first.

    Raises:
        ValueError: If the model's score is not one inner product of such vectors.
    """
    name = _adapter(model)
    if hasattr(model, "user_item_embeddings"):
        return model.user_item_embeddings()
    if name in _TABLES_ARE_VECTORS:
        return model.user_embedding.weight, model.item_embedding.weight
    if name == "NCL":
        users, items, _ = model.forward()
        return users, items
    if name == "SGL":
        return model.forward(model.train_graph)
    if name in _FORWARD_GIVES_VECTORS:
        return model.forward()
    raise ValueError(
        f"backbone {type(model).__name__} has no adapter to user and item embeddings; accepted are "
        "BPR, LINE, NCL, SGL, LightGCN, NGCF, their subclasses and any subclass of EmbeddingModel"
    )
