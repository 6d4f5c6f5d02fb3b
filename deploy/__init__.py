"""Deploying OrderOnce: the template of each stage, merged from its parts, and its stack. Not deployed itself."""
