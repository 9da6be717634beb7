"""The comparisons of Booking Ledger with its peers: `make bench`, `make bench-full`."""
