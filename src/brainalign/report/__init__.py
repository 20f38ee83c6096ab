"""What is shown: static figures, and the one-file HTML page of a run."""
