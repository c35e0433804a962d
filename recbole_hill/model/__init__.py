"""Models: HILL, its backbones, and the baselines it is compared with."""
