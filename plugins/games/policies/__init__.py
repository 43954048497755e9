"""Agents: from what is seen, and what is remembered, to a distribution over actions and a prediction of the return."""
