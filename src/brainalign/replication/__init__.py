"""The replication scoreboard: published numbers, how each is checked here, and what came of it."""
