"""The world outside: DynamoDB, SQS, EventBridge, SNS and the payment provider. `service.py` alone makes them."""
