"""The strategy game on a web page: a person against a trained agent, on this machine."""
