"""What verifies few people best: a network, whitened descriptors, or both."""
