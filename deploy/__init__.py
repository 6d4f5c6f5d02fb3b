"""Deploying OrderOnce: the template of each stage, put together from parts, and its stack. Never deployed."""
