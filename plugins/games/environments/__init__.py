"""Many games in one tensor: the house's own, in torch, and every environment that gymnasium knows."""
