"""Orders in DynamoDB: items, expressions, the reasons of refusals, and the calls."""
