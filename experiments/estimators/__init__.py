"""The estimators' pages: a family each, with a figure that shows when it serves and when it lies."""
