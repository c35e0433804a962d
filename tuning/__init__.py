"""Search spaces and sweeps; installed as ``recbole_hill.tuning``."""
