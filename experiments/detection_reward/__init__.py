"""A study: a trained detector tuned on the task reward and on a relaxed average precision."""
