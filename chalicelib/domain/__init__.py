"""What is always true of an order: pure. No AWS, no clock, no JSON text, no environment."""
