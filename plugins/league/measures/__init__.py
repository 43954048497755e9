"""How good a player is: exactly where the game is small, else by matches."""
