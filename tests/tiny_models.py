"""Per model: least recall@10 on the planted groups, and settings for a dataset of 80 users."""

MODELS = {
    # -- matrix factorisation
    "MF-CCL": (
        0.6,
        {
            "init_std": 0.1,
            "n_negatives": 10,
            "margin": 0.2,
            "negative_weight": 10,
            "lr_rule": "constant",
            "learning_rate": 0.02,
            "epochs": 150,
            "stopping_step": 50,
            "train_batch_size": 64,
        },
    ),
    # -- end of matrix factorisation
    # -- scores that do not factorise
    # -- end of scores that do not factorise
    # -- auto-encoders
    # -- end of auto-encoders
    # -- walks and skip-grams
    # -- end of walks and skip-grams
    # -- generic graph networks
    # -- end of generic graph networks
    # -- the LightGCN family
    # -- end of the LightGCN family
    # -- routing, gating and diffusion
    # -- end of routing, gating and diffusion
    # -- closed forms and filters
    # -- end of closed forms and filters
}
