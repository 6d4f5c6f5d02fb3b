"""The operator's command line: `python -m ops --stage dev dead-letters list`. Never deployed.

Commands call the service's own use cases; nothing here writes an order. docs/operating.md shows each.
"""
