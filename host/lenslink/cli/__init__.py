"""The command line, ``lenslink``. Data goes down this list and never back up::

    main        the program: finds the command, runs it, turns every ending into an exit code
    list, info, capture, stream, doctor, completion
                one command each, found through the entry points ``lenslink.commands``
    checks      what doctor checks, and how a command says what it needs
    frames      what capture and stream share: settings, a frame as JSON
    sink        where a stream's pixels go
    tally       what is counted while they come
    opening     the URL argument, and a module opened for one command
    values      what people type: 1/60 s, 3.3 dioptres
    screen      what is said, where: stdout for what was asked for, stderr for all else
    signals     Ctrl-C and SIGTERM as one exception
    options     -v, -q and --timeout, which every command takes

A command's module imports nothing slow at its top: ``lenslink --help`` imports them all.
"""
