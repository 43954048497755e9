"""A data set before a training, and its labels after one: what is in it, what is doubtful, what can be reached."""
