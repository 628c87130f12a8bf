"""Let other processes control the module that this process owns: the way back from an ISP.

A frame ring goes one way. The control socket beside it goes the other way::

    ISP: module_client --lines of JSON--> control_server -> control_service -> lenslink.Device
                       <----------------                 <-
    frames:  FrameRingReader <== shared memory <== FrameRing of the device

:meth:`lenslink.Device.serve` makes the service. There is no thread: the session looks at the socket
while it waits for the module (:meth:`lenslink.session.Session.run_until`). A request that only asks
is answered there. A request that changes something waits until the device is between two frames.

:mod:`.control_messages` defines the lines, :mod:`.control_socket` where the socket is.
"""
