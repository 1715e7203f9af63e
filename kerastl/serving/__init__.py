"""A model that answers over the network, the way TF Serving does."""
