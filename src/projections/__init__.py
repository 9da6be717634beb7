"""The read side: what is derived. Everything here can be thrown away and rebuilt from events."""
