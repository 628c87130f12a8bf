"""Benchmarks of the host: what the driver costs beside the bare transport, in one run.

The sending process is :mod:`.source`, with packets that :mod:`.tiles` makes ahead. The receiving
process, whose time is counted, is :mod:`.receiver` with :mod:`.bare`. :mod:`.workers` starts both.
:mod:`.series` and :mod:`.latency` tell them what to measure, :mod:`.host_series` runs all series.
:mod:`.document` and :mod:`.plot` write the results. :mod:`.peers` sends the same payload through
other software. :mod:`.link_rate` and :mod:`.sweep` measure the link of one module.
"""
