"""The doors: HTTP, command line, web pages, settings. Wires the rest together."""
