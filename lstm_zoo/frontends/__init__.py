"""Raw input to features, as layers that travel inside the model and export to builtin TFLite ops."""
