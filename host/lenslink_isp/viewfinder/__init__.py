"""Look through a module: a page in a browser, with the controls of a camera.

Two processes share the work, so that no picture delays a packet::

    module_owner     owns the module, receives into a frame ring
       | frame ring                              ^ control socket
       v                                         |
    picture_maker    RAW to JPEG, histogram,     |
       |             overlays                    |
       v                                         |
    camera_session   exposure_control, -----> settings_sender
       |             hdr_exposures,              |
       |             point_focus, ----------> remote_module
       |             still_files                 (threads: worker)
       v                                ^
    viewers          newest picture     | viewer_messages
       | WebSocket   first, two in      |
       v             flight             |
    page/            canvas, controls --+

:mod:`.page_process` starts the second process, and :mod:`.page_server` serves the page. Developing
is a thread of that process: OpenCV releases Python's lock while it computes.
"""
