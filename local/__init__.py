"""The laptop stack: `python -m local` runs the whole service on one machine. Never deployed.

An embedded AWS holds the tables and queues of the template, Chalice's local server serves the API,
and two mappings do what Lambda's event sources do: one hands the queue to its consumer, the other
fires the schedules. Everything lives in memory and ends with the process.
"""
