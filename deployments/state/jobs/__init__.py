"""Work that is done after the answer: tasks, searches, deliveries."""
