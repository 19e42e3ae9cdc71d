"""Emulators of Azure's services for a laptop and the tests, for the official libraries as they are."""
