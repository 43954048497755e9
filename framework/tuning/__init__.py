"""Studies: a search for the best settings by Optuna, in a folder of its own. Nothing here imports torch at import."""
