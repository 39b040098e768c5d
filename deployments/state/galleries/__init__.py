"""Galleries: faces of people, and what is told apart by them."""
