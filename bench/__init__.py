"""What the gateway costs, against the bare floor, in one run: `make bench`."""
