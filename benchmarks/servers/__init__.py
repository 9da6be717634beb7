"""Servers that are compared with ours, each in a process of its own."""
