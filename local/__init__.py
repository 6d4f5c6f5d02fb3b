"""The laptop stack: `python -m local` runs the whole service on one machine. Never deployed.

An embedded AWS has the tables and queues of the template, Chalice's local server serves the API, an event source
mapping passes the queue's messages to the consumer, and schedules fire as EventBridge's do. Everything is in memory and
ends with the process, unless DATA names a folder to keep it in.
"""
