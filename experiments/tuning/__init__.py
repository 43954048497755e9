"""Whether a study by Optuna finds better settings than random search with as many trials."""
