"""The identity of this build. ``lenslink firmware build`` replaces this file."""

# The beginning of the SHA-256 over all other files of the build; empty in a checkout.
ID = ""
