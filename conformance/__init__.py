"""Does an API keep the rules of the Idempotency-Key header? For any API: docs/conformance.md.

Nothing here knows OrderOnce but its profile, `profiles/orderonce.toml`. Never deployed.
"""
