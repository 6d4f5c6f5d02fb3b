"""What the tests lean on: engines, stages, events, a clock, and a hand on every call to AWS."""
