"""Recording of sessions, and replay: who plays whom.

A session has a host (the driver) and a module. A recording holds every byte that both sent::

    record                   host ── RecordingTransport ── module
                                            │
                                            ▼
                                      session.lcap
                                            │
                         ┌──────────────────┼──────────────────────┐
                         ▼                  ▼                      ▼
    plays          the MODULE          the HOST               nobody
    class          ModulePlayer        HostPlayer             export()
    to             a driver            a module               Wireshark
    started by     replay:FILE         replay --as host URL   replay --pcapng
                   replay --listen

The files, in the order in which they import each other:

    lcap             the file format: Writer, load()
    recorder         a transport that writes all bytes of another transport to a Writer
    script           a recording as packets in order, and the requests that they waited for
    module_player    plays the module's side of a script, without input or output
    host_player      plays the host's side to a module, and compares the answers
    pcapng           exports a recording for Wireshark
    replay_bench     the transport ``replay:FILE``, a ModulePlayer in the driver's process
    replay_server    a ModulePlayer behind a socket
    record_command, replay_command
                     the commands ``lenslink record`` and ``lenslink replay``
"""
