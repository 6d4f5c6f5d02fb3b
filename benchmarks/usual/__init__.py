"""The usual design, to be compared with: Powertools' idempotency around write-then-send, and an SQS consumer."""
