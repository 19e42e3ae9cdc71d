"""Mistakes of operators: forgotten timers, half-made changes, and settings that would betray."""
