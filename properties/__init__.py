"""Settings of models, data sets and tables; installed as ``recbole_hill.properties``."""
