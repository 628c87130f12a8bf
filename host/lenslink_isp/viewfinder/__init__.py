"""Look through a module: a page in a browser, with the controls of a camera.

Two processes share the work, so that no picture delays a packet::

    module_owner    owns the module and receives into a frame ring
       | frame ring                                      ^ control socket
       v                                                 |
    picture_maker   RAW to JPEG, histogram, overlays     |     a thread
       |                                                 |
    camera_session  exposure, focus, stills -> remote_module   asyncio
       |                                                 ^
    viewers         newest picture first, two in flight  |
       | WebSocket                                       |
    page/           canvas, controls  ---- JSON ---> viewer_messages

:mod:`.page_process` starts the second process, and :mod:`.page_server` serves the page. Developing
is a thread of that process: OpenCV releases Python's lock while it computes.
"""
