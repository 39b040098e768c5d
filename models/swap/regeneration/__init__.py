"""Making a face anew: a search in a generator's styles for one that has the source's identity in the target's place."""
