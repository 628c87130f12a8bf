"""The command line, ``lenslink``.

A module imports only modules that stand below it in this list::

    main            the program: finds the command, runs it, turns every ending into an exit code
    capture, completion, doctor, info, list, ring, stream, watch
                    one command each, found through the entry points ``lenslink.commands``
    checks          what ``doctor`` checks, and how a command states what it needs
    frame_report    what ``capture`` and ``stream`` share: the settings, a frame as JSON
    frame_counts    the figures of a stream
    sink            where a stream's pixels go
    pixel_formats, quick_picture
                    how a stream's pixels are written
    opening         the URL argument, and a device opened for one command
    url_completion  what the shell offers for a URL
    values          settings as people write them: 1/60 s, 3.3 dioptres
    log_output      the log lines that ``-v`` shows
    screen          stdout carries the result, stderr everything else
    signals         Ctrl-C and SIGTERM as one exception
    options         -v, -q and --timeout, which every command takes

A command's module imports nothing slow at its top, because ``lenslink --help`` imports all of them.
"""
