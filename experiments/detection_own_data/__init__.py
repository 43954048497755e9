"""A study: a small data set of one's own, in Pascal VOC's form, learned from random weights on two cores."""
