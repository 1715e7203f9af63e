"""A search for the numbers of fine-tuning that suit some images, within a budget."""
