"""What the gateway costs, as ratios to what it cannot avoid, measured in one run. `make bench`."""
