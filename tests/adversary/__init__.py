"""Attacks that broke the gateway once, in folders by who attacks. `make adversary` runs them all."""
