"""Measurements. Each is a command that prints what it saw."""
