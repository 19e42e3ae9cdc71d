"""The state of the gateway itself: runs of its timers, its instances, and the last verification of its books."""
