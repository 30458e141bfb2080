"""One module per venue: its protocol in front of the markets of `simulator.market`."""
