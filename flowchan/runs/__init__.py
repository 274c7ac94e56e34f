"""Runs as the broker knows them: their records, their states, who executes them."""
