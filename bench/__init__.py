"""`make bench`: what the network costs, measured beside the direct way in the same run."""
