"""What the service does: one file, one verb. They know the world by `ports.py` only."""
