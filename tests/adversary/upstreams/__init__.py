"""Attacks by what answers: usage that lies, values without bounds, and answers without end."""
