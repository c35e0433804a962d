"""Per model: least recall@10 on the planted groups, and settings for a dataset of 80 users."""

#: What to install for some of them: it comes with the extra [baselines].
NEEDS = {
    "DeepWalk": "gensim",
    "Item2Vec": "gensim",
    "Node2Vec": "gensim",
}

#: Models that take more than two seconds to learn the planted groups; another model of each base
#: learns them in the default suite.
SLOW_TO_LEARN = frozenset(
    {"CMN", "DGCF", "DisenGCN", "GAT", "GC-MC", "GTN", "HMLET", "HOP-Rec", "IA-GCN", "LT-OCF"}
    | {
        "MF-CCL",
        "Macrid-VAE",
        "NIA-GCN",
        "NeuMF",
        "NeuMF-WWW",
        "PinSage",
        "SGL-ED",
        "SimpleX",
        "YouTubeNet",
    }
)

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
    "GRMF": (0.7, {"learning_rate": 0.02, "epochs": 20, "train_batch_size": 128}),
    "GRMF-norm": (0.7, {"learning_rate": 0.02, "epochs": 20, "train_batch_size": 128}),
    "SimpleX": (
        0.55,
        {
            "init_std": 0.1,
            "n_negatives": 10,
            "margin": 0.2,
            "negative_weight": 10,
            "lr_rule": "constant",
            "learning_rate": 0.02,
            "epochs": 60,
            "stopping_step": 50,
            "train_batch_size": 64,
        },
    ),
    "YouTubeNet": (
        0.7,
        {
            "init_std": 0.1,
            "n_negatives": 10,
            "lr_rule": "constant",
            "learning_rate": 0.02,
            "epochs": 30,
            "stopping_step": 50,
            "train_batch_size": 64,
        },
    ),
    "CML": (
        0.6,
        {
            "learning_rate": 0.02,
            "epochs": 20,
            "train_batch_size": 128,
            "n_negatives": 10,
            "margin": 1.0,
        },
    ),
    "MF-SSM": (0.7, {"learning_rate": 0.02, "epochs": 20, "train_batch_size": 128, "tau": 0.2}),
    "BPR": (
        0.7,
        {
            "init_std": 0.1,
            "n_negatives": 4,
            "lr_rule": "constant",
            "learning_rate": 0.02,
            "epochs": 20,
            "stopping_step": 20,
            "train_batch_size": 128,
        },
    ),
    "HOP-Rec": (0.6, {"init_std": 0.1, "epochs": 60, "train_batch_size": 64}),
    "ENMF": (
        0.6,
        {"init_weight": 1.0, "negative_weight": 0.3, "epochs": 20, "train_batch_size": 16},
    ),
    "MF-BSL": (
        0.7,
        {
            "init_std": 0.1,
            "n_negatives": 10,
            "tau": 0.2,
            "learning_rate": 0.02,
            "epochs": 20,
            "stopping_step": 20,
            "train_batch_size": 128,
        },
    ),
    "MF-SLK": (
        0.7,
        {
            "init_std": 0.1,
            "n_negatives": 10,
            "tau": 0.2,
            "loss_k": 3,
            "quantile_epochs": 2,
            "learning_rate": 0.02,
            "epochs": 20,
            "train_batch_size": 128,
        },
    ),
    "MF-Talos": (
        0.7,
        {
            "init_std": 0.1,
            "n_negatives": 10,
            "tau": 0.2,
            "loss_k": 3,
            "learning_rate": 0.02,
            "epochs": 20,
            "train_batch_size": 128,
        },
    ),
    # -- end of matrix factorisation
    # -- scores that do not factorise
    "NeuMF": (
        0.6,
        {
            "embedding_size": 16,
            "mlp_hidden_size": [16, 16],
            "learning_rate": 0.01,
            "epochs": 60,
            "stopping_step": 30,
            "train_batch_size": 64,
        },
    ),
    "NeuMF-WWW": (
        0.6,
        {
            "mf_embedding_size": 16,
            "mlp_embedding_size": 16,
            "mlp_hidden_size": [16, 16],
            "learning_rate": 0.01,
            "epochs": 60,
            "stopping_step": 30,
            "train_batch_size": 64,
        },
    ),
    "CMN": (
        0.6,
        {
            "learning_rate": 0.01,
            "dense_reg_weight": 0.0,
            "epochs": 60,
            "stopping_step": 30,
            "train_batch_size": 64,
        },
    ),
    "IA-GCN": (
        0.6,
        {
            "n_layers": 2,
            "learning_rate": 0.02,
            "epochs": 40,
            "stopping_step": 20,
            "train_batch_size": 64,
        },
    ),
    # -- end of scores that do not factorise
    # -- auto-encoders
    "Mult-VAE": (0.6, {"train_batch_size": 16, "epochs": 20, "learning_rate": 0.005}),
    "Macrid-VAE": (
        0.5,
        {"train_batch_size": 16, "epochs": 30, "kfac": 4, "learning_rate": 0.005},
    ),
    # -- end of auto-encoders
    # -- walks and skip-grams
    "DeepWalk": (0.6, {"skip_gram_passes": 5}),
    "Node2Vec": (0.6, {"n_walks": 5}),
    "Item2Vec": (0.6, {"skip_gram_negatives": 5, "skip_gram_passes": 40}),
    # -- end of walks and skip-grams
    # -- generic graph networks
    "MGDCF": (0.7, {"n_negatives": 10, "epochs": 20, "eval_step": 5, "learning_rate": 0.02}),
    "APPNP": (0.7, {"n_negatives": 1, "epochs": 20, "eval_step": 5, "learning_rate": 0.02}),
    "JKNet": (0.7, {"n_negatives": 1, "epochs": 20, "eval_step": 5, "learning_rate": 0.02}),
    "DropEdge": (0.7, {"n_negatives": 1, "epochs": 20, "eval_step": 5, "learning_rate": 0.02}),
    "GC-MC": (0.7, {"learning_rate": 0.02, "epochs": 40, "train_batch_size": 128}),
    "PinSage": (0.7, {"learning_rate": 0.02, "epochs": 40, "train_batch_size": 128}),
    "GAT": (0.7, {"learning_rate": 0.02, "epochs": 40, "train_batch_size": 128}),
    "NIA-GCN": (0.7, {"learning_rate": 0.02, "epochs": 40, "train_batch_size": 128}),
    # -- end of generic graph networks
    # -- the LightGCN family
    "LightGCN": (0.7, {"learning_rate": 0.02, "epochs": 20, "train_batch_size": 128}),
    "NESCL": (
        0.7,
        {"learning_rate": 0.02, "epochs": 20, "train_batch_size": 128, "ssl_warmup_epochs": 0},
    ),
    "LightGCN-SSM": (
        0.7,
        {"learning_rate": 0.02, "epochs": 20, "train_batch_size": 128, "tau": 0.2},
    ),
    "LT-OCF": (0.7, {"learning_rate": 0.02, "epochs": 40, "train_batch_size": 128}),
    "BUIR": (0.6, {"learning_rate": 0.02, "epochs": 20, "train_batch_size": 128, "momentum": 0.9}),
    "SGL-ED": (
        0.7,
        {"ssl_weight": 0.01, "learning_rate": 0.02, "epochs": 40, "train_batch_size": 128},
    ),
    "LightGCN-BSL": (
        0.7,
        {
            "init_std": 0.1,
            "tau": 0.2,
            "learning_rate": 0.02,
            "epochs": 20,
            "stopping_step": 10,
            "train_batch_size": 128,
        },
    ),
    "LightGCN-SLK": (
        0.7,
        {
            "init_std": 0.1,
            "n_negatives": 10,
            "tau": 0.2,
            "loss_k": 3,
            "quantile_epochs": 2,
            "learning_rate": 0.02,
            "epochs": 20,
            "train_batch_size": 128,
        },
    ),
    "LightGCN-Talos": (
        0.7,
        {
            "init_std": 0.1,
            "n_negatives": 10,
            "tau": 0.2,
            "loss_k": 3,
            "learning_rate": 0.02,
            "epochs": 20,
            "train_batch_size": 128,
        },
    ),
    "UltraGCN": (
        0.7,
        {
            "init_std": 0.1,
            "n_negatives": 10,
            "negative_weight": 10,
            "learning_rate": 0.02,
            "epochs": 20,
            "train_batch_size": 128,
        },
    ),
    "LightGCN++": (0.7, {"learning_rate": 0.02, "epochs": 20, "train_batch_size": 128}),
    "LightGCN++-BSL": (
        0.7,
        {"tau": 0.2, "learning_rate": 0.02, "epochs": 20, "train_batch_size": 128},
    ),
    "EGCF": (0.7, {"learning_rate": 0.02, "epochs": 20, "train_batch_size": 128}),
    # -- end of the LightGCN family
    # -- routing, gating and diffusion
    "HMLET": (
        0.7,
        {"learning_rate": 0.02, "epochs": 40, "train_batch_size": 128, "gate_warmup_epochs": 2},
    ),
    "GTN": (0.7, {"learning_rate": 0.02, "epochs": 40, "train_batch_size": 128}),
    "DisenGCN": (0.7, {"learning_rate": 0.02, "epochs": 40, "train_batch_size": 128}),
    "DGCF": (0.7, {"learning_rate": 0.02, "epochs": 40, "train_batch_size": 128}),
    "IMP-GCN": (0.7, {"learning_rate": 0.02, "epochs": 20, "train_batch_size": 128, "n_layers": 3}),
    "DeosGCF": (0.7, {"learning_rate": 0.02, "epochs": 20, "train_batch_size": 128, "n_layers": 2}),
    # -- end of routing, gating and diffusion
    # -- closed forms and filters
    "GF-CF": (0.7, {"ideal_rank": 4}),
    "BSPM-LM": (0.7, {"ideal_rank": 4}),
    "BSPM-EM": (0.7, {"ideal_rank": 4, "sharpen_time": 1.0}),
    "ChebyCF": (0.7, {"ideal_rank": 4}),
    "PGSP": (0.7, {"ideal_rank": 4}),
    "EASE": (0.6, {"reg_weight": 10.0}),
    "RDLAE": (0.6, {"reg_weight": 10.0}),
    "SVD-AE": (0.6, {"embedding_size": 4}),
    "SpectralMF": (0.6, {"embedding_size": 4}),
    "SpectralSSM": (0.6, {"spectral_rank": 4, "train_batch_size": 128, "epochs": 10}),
    "LINE": (0.6, {"learning_rate": 0.02, "epochs": 20, "train_batch_size": 128}),
    "ItemKNN": (0.6, {}),
    "Pop": (0.1, {}),  # the same list for both kinds of users
    # -- end of closed forms and filters
}
