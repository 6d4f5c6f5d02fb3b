"""What runs in Lambda: entrypoints → use cases → domain, adapters beside them; service.py puts them together."""
