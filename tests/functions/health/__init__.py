"""The gateway tells its own state: checks, timers, instances, and verified books."""
