"""What the host costs: the driver measured beside the bare transport, in one run.

Data goes down this list: :mod:`.tiles` (a frame's packets, made ahead) and :mod:`.source` (the
process that sends them) on one side; :mod:`.receiver` (the process whose time is counted) with
:mod:`.bare` on the other; :mod:`.workers` starts both, :mod:`.series` and :mod:`.latency` say what
they shall do, :mod:`.report` and :mod:`.plot` what came of it. :mod:`.peers` is the same payload
through what others would use.
"""
