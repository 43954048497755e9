"""The league: who plays whom, what has been won, and the snapshots."""
