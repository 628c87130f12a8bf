"""Test rigs: which boards there are, who has one, and how their power is switched.

::

    rig.toml ──▶ rig_file ──▶ rig_directory   rig:NAME as a URL
                   │    │
                   │    └───▶ taken_board      one board for one job: lock, power, keeper
                   │            ├ board_lock     the kernel's lock
                   │            ├ rig_power      a switch with a deadline on every call
                   │            └ keeper         the process that outlives a killed job
                   └────────▶ rig_doctor       proves what rig.toml claims
                                └ presence       is the board there, and since when does it run

``switch_*`` are the power switches: entry points of the group ``lenslink.power_switches``.
:mod:`.simulated_board` is a board without hardware, and its power.
"""
