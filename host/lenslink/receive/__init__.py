"""The receive path: from the bytes of a transport to finished frames.

A tile's way through this package, and the file that does each step::

    transport                     reads bytes into the buffers that it is given
        |
    session_reader.SessionReader  asks for buffers, calls the transport, counts bytes
        |
    batch.Batch                   predicts the next tiles of a lane (prediction, tile_grid),
        |                         so that one read fills many tiles in their final position
    lenslink_protocol.framing     checks header, CRCs and sequence of each packet
        |
    lenslink_protocol.link        passes each packet on by its type
        |
    reassembly.Reassembly         finds the frame of a tile, what is missing and what to request
        |                         again (lane_progress, frame_start_check); decodes a coded tile
        |                         (rice_decoding), so that no frame in memory is coded
    assembly.Assembly             keeps one frame: state, received bytes (received_ranges,
        |                         frame_geometry), in memory that frame_pool.Pool lends
    unpacking                     turns packed rows into 16-bit pixels, after the frame is taken

A frame's states::

    RECEIVING <--> OVERDUE
        |             |
        |-------------|---> COMPLETE
        |             |        |
        '-------------'--------'---> FINISHED

A frame is RECEIVING from its first packet on, and OVERDUE after a long silence. It is COMPLETE once
every byte has arrived. It is FINISHED once nothing more is expected of it, complete or not. Then
the session takes it. :mod:`.assembly` has the table of transitions, :mod:`.reassembly` the rules
for FINISHED.
"""
