"""What goes onto a board: its files, compiled for it."""
