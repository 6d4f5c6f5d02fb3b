"""What runs in Lambda: domain, use cases and adapters. Imports point one way: entry → use cases → domain."""
