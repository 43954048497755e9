"""What an accelerator makes of games, drawings and estimators."""
