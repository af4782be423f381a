"""What training runs have of their own for each kind of input: settings, batches and baselines."""
