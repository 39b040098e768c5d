"""What can be asked for about a face: each attribute is declared once, beside its model, in a file of this folder."""
