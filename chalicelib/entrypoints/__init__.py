"""What comes in and what goes out: HTTP requests and answers, messages, validation."""
