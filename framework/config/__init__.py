"""Configuration: its schema, its composition by Hydra, its validation, and how a mistake in it is explained."""
