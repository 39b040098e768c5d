"""Which weights there are, getting them, verifying them; and our own."""
