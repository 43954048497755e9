"""A study: estimators of discrete draws on the digits' autoencoder."""
