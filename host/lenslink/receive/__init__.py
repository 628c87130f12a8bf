"""The receive path: from the bytes of a transport to finished frames.

A tile's way through this package, and the file that does each step::

    transport                     reads bytes into the buffers that it is given
        |
    reader.SessionReader          asks for buffers, calls the transport, counts bytes
        |
    batch.Batch                   predicts the next tiles of a lane (prediction, tile_grid),
        |                         so that one read fills many tiles in their final position
    lenslink_protocol.framing     checks header, CRCs and sequence of each packet
        |
    lenslink_protocol.link        passes each packet on by its type
        |
    reassembly.Reassembly         puts tiles into frames, knows what is missing
        |                         (received_ranges) and what to request again
    frame_pool.Pool               lends the memory of each frame
        |
    unpacking                     turns packed rows into 16-bit pixels, after the frame is taken

A frame's states::

    RECEIVING ---> COMPLETE ---> FINISHED
        |                           ^
        '---------------------------'

A frame is RECEIVING from its first packet on. It is COMPLETE once every byte has arrived. It is
FINISHED once nothing more is expected of it, complete or not; then the session takes it.
:mod:`.reassembly` has the table of transitions.
"""
