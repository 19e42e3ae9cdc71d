"""Costs of the gateway, as ratios to costs that it cannot avoid, measured in one run: `make bench`."""
