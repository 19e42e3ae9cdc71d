"""Stand-ins for Azure on a laptop: functions host, simulator, storage. `shared/` never imports them."""
