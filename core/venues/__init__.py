"""Venues compared with one another: what one of them says against what the others agree on."""
