"""Training the network of age and gender: prepare, train, finish."""
