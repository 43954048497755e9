"""Environments that others wrote to the interface of gymnasium: one at a time, or vectors of their own."""
