"""A Cluster: each slot's sends, looks and lanes, led to the node that has it now."""
