"""Pathwise estimators: the derivative flows through the drawn value."""
