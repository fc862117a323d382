"""The official SDKs ask a network as its users will."""
