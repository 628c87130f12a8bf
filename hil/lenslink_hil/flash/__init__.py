"""The files of a board: firmware compiled for its architecture, and its configuration."""
