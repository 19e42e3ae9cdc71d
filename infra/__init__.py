"""Infrastructure of the gateway, and the programs that `azd` runs around it."""
