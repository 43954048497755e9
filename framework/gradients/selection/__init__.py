"""Measuring estimators against each other, and choosing between them."""
