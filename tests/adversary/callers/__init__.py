"""Attacks by callers: tokens that would be free, bodies with two readings, and service taken from others."""
