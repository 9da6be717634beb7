"""The write side: what is true. Domain rules, events and the event store."""
