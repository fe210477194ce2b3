"""What goes wrong with endpoints, told from the facts, and what to do about it."""
