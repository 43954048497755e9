"""How well a detector that was trained on synthetic people alone finds people."""
