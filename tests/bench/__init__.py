"""Speed, measured: `make bench`. Never asserted in a test; always beside a baseline of the same run."""
