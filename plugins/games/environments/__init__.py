"""Many games in one tensor: games written in torch, and every environment that gymnasium knows."""
