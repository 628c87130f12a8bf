"""Hand frames to an ISP: other processes read them in shared memory while they arrive.

The path of a frame::

    session -> slot_pool -> writer, slot  ==  shared memory  ==>  reader -> shared_frame -> ISP
                            reader_table,      (segment)          mapped_ring
                            doorbell

``lenslink.open(url, ring=FrameRing("cam"))`` receives frames into the ring's slots. In another
process, ``FrameRingReader("cam")`` gets them without a copy. :mod:`lenslink_protocol.ringlayout`
defines the memory and the order of loads and stores. An ISP in C includes
``lenslink_ring_reader.h``.

A slot has a state in shared memory (its state word), the writer's use, and readers' pins::

    state      writer uses it   readers may pin it   meaning
    ---------  ---------------  -------------------  ------------------------------------------
    FREE       no               no                   no frame
    FREE       yes              no                   taken for a frame, no packet yet
    FILLING    yes              no                   a frame is under way, not described yet
    STARTED    yes              yes                  rows become ready
    FINISHED   yes              yes                  the session still uses the frame's memory
    FINISHED   no               yes                  published: kept for readers, or taken next
    ABORTED    no               no                   the frame was given up

    FrameRing.take()     any state that the writer does not use, without a pin -> FREE, used
    Slot.begin()         FREE -> FILLING
    Slot.start()         FILLING -> STARTED
    Slot.finish()        STARTED -> FINISHED
    Slot.let_go()        used -> not used; FILLING and STARTED -> ABORTED
    FrameRingReader      pins a slot in STARTED or FINISHED; release() clears the pin

The doorbell is a futex that counts these changes, so that readers can sleep. The generation counter
tells a reader whether it saw all slots at one moment.
"""
