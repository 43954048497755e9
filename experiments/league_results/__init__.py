"""A study: how league, averaged and regularised self-play converge where plain self-play does not."""
