"""The hand-off to the ISP: frames in memory that other processes read while they arrive."""
