/* The memory of LensLink's frame ring, for C11.
 *
 * Generated from lenslink_protocol/ringlayout.py by `make gen`; do not edit.
 *
 * This layout is a contract with programs of others, as the wire format is. The C header
 * ``lenslink_ring.h`` is generated from it (:mod:`.ringheader`), and the driver reads its offsets
 * from here. All words are little-endian. Every word is aligned to its own size, so that C lays
 * the structures out alike.
 *
 * A file in shared memory holds a page of control data, followed by the slots' payloads::
 *
 *     0                 Header
 *     READERS_AT        READERS times Reader
 *     SLOTS_AT          as many Slot as the header says
 *     PAYLOADS_AT       the payloads, payload_bytes apart
 *
 * A slot holds one frame. The low bits of its state word are its state, the others its
 * generation::
 *
 *     state     event                                            next state
 *     --------  -----------------------------------------------  ----------
 *     any       the writer takes the slot, and no reader has     FREE, next generation
 *               pinned it
 *     FREE      a frame's first packet arrives                   FILLING
 *     FILLING   the frame's description arrives                  STARTED
 *     STARTED   nothing of the frame will change any more        FINISHED
 *     FILLING   the frame is given up                            ABORTED
 *     STARTED   the frame is given up                            ABORTED
 *
 * A slot has the whole payload of its frame's FrameStart, with the layout of the wire. So a reader
 * in another process learns what the driver learns, and a new field of FrameStart needs no other
 * place. C reads the fields in ``struct lenslink_ring_frame_start``.
 *
 * A reader pins a slot in the states STARTED and FINISHED by one of its pins, and reads its pixels
 * until it clears the pin. The writer does not take a pinned slot.
 *
 * Who may write what: a reader writes its own entry and its own byte of ``asleep``. The writer
 * writes everything else. So no word has two writers, and nobody needs compare-and-swap.
 *
 * Who is alive: the writer holds a write lock on the file's first byte, a reader one on the first
 * byte of its entry. Both are open file description locks (``F_OFD_SETLK``). The kernel releases
 * them when their holder dies for any reason, and reused process ids do not matter. The process
 * that gets an entry's lock owns that entry. A process that gets the writer's lock may remove the
 * file.
 *
 * Words marked atomic are read and written by one aligned access of their size. The two sides keep
 * this order:
 *
 * - The writer stores a frame's pixels before ``rows_ready``, and its description before
 *   ``state_word`` (release). A reader loads ``rows_ready`` and ``state_word`` first (acquire).
 * - To take a slot, the writer stores a ``state_word`` with the next generation, executes a full
 *   fence, and loads all ``pins``. A reader stores its pin, executes a full fence, and loads
 *   ``state_word`` again. One of them sees the other. Either the reader finds another generation
 *   and clears its pin, or the writer finds the slot pinned and restores the old ``state_word``.
 * - A reader that sleeps stores its ``asleep`` and waits on ``doorbell`` with the value that it
 *   loaded before its last look. At each change of a slot's state, the writer adds 1 to
 *   ``doorbell``, executes a full fence and wakes the sleepers that it sees. For new rows it
 *   executes no fence. A sleeper that is missed then is woken by the next rows. Nobody sleeps
 *   longer than 100 ms without looking.
 * - ``generation_counter`` counts the changes of any slot's state. A reader that loads the same
 *   value before and after its look at all slots has seen them at one moment.
 *
 * In C these are the atomics of C11. x86 keeps loads in order and stores in order by itself. Only
 * a store that is followed by a load needs the fence. ARM keeps no order: release, acquire and
 * fence are instructions there, which Python lacks. Python uses a full barrier of the system
 * instead: ``membarrier()`` on Linux.
 */
#ifndef LENSLINK_RING_H
#define LENSLINK_RING_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the frame ring is little-endian"
#endif

#define LENSLINK_RING_MAGIC UINT64_C(0x0A0D474E49524C4C)
#define LENSLINK_RING_VERSION 2
#define LENSLINK_RING_READERS 16
#define LENSLINK_RING_MAX_STREAMS 3
#define LENSLINK_RING_PINS 4
#define LENSLINK_RING_MAX_SLOTS 64
#define LENSLINK_RING_MAX_MISSING_RANGES 16
#define LENSLINK_RING_READERS_AT 256
#define LENSLINK_RING_SLOTS_AT 4096
#define LENSLINK_RING_PAYLOADS_AT 65536
#define LENSLINK_RING_MAX_PAYLOAD_BYTES 201326592
#define LENSLINK_RING_GENERATION_SHIFT 3

enum {
    LENSLINK_RING_FREE = 0,
    LENSLINK_RING_FILLING = 1,
    LENSLINK_RING_STARTED = 2,
    LENSLINK_RING_FINISHED = 3,
    LENSLINK_RING_ABORTED = 4,
};

enum {
    LENSLINK_RING_LATEST = 1,
    LENSLINK_RING_EVERY = 2,
};

enum {
    LENSLINK_RING_ASLEEP_AWAKE = 0,
    LENSLINK_RING_ASLEEP_FRAME = 1,
    LENSLINK_RING_ASLEEP_ROWS = 2,
};

enum {
    LENSLINK_RING_COMPLETE = 0,
    LENSLINK_RING_INCOMPLETE = 1,
};

/* a FrameStart: what the module says of a frame at its start */
struct lenslink_ring_frame_start {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint16_t mode; /* id of a mode of the manifest */
    uint32_t request; /* id of the Capture or StartStream request */
    uint64_t timestamp_us; /* clock of the module at the start of readout, us */
    uint16_t width; /* pixels in a row */
    uint16_t height; /* rows */
    uint8_t cfa; /* colour filter array phase */
    uint8_t orientation; /* EXIF orientation, 1 to 8 */
    uint8_t bits; /* bits of a pixel's value, 8 to 16 */
    uint8_t reserved; /* 0 */
    uint32_t pixel_format; /* code of the pixel format */
    uint32_t stride; /* bytes in a row */
    uint32_t white; /* white level, DN */
    uint16_t flags; /* frame flags: ADJUSTED, MOVING */
    uint16_t reserved2; /* 0 */
    uint32_t black_milli[4]; /* black levels of the first 2 x 2 pixels, 1/1000 DN */
    uint32_t exposure_us; /* exposure time applied, us */
    uint32_t gain_milli; /* gain applied, 1/1000 */
    int32_t focus_mdpt; /* lens position at mid-exposure, milli-dioptres */
    uint32_t aperture_milli; /* f-number applied, 1/1000; 0 = the module has no iris */
    uint32_t interval_us; /* time since the readout of the last frame of the stream started, us; 0 = first frame of the request */
    uint32_t row_time_ns; /* time from row to row of the readout, ns; 0 = unknown */
    uint32_t noise_slope; /* S of DNG's NoiseProfile, 1e-9; 0 = unknown */
    uint32_t noise_offset; /* O of DNG's NoiseProfile, 1e-9 */
    int32_t focus_ring; /* position of the focus ring, ticks since the start; wraps */
    int32_t temperature_mc; /* sensor temperature, 1/1000 degree C */
    uint16_t crop_x; /* first column of the frame in the mode */
    uint16_t crop_y; /* first row of the frame in the mode */
};

/* the beginning of the file */
struct lenslink_ring_header {
    _Atomic uint64_t magic; /* written last of all, when the file is made */
    uint32_t version; /* of this layout */
    uint32_t header_bytes; /* size of this structure */
    uint64_t file_bytes; /* size of the file */
    uint32_t slots; /* how many slots there are */
    uint32_t readers; /* how many reader entries there are */
    uint32_t readers_at; /* offset of the first reader entry */
    uint32_t reader_bytes; /* from one reader entry to the next */
    uint32_t slots_at; /* offset of the first slot */
    uint32_t slot_bytes; /* from one slot to the next */
    uint64_t payloads_at; /* offset of the first payload */
    uint64_t payload_bytes; /* from one payload to the next */
    uint32_t writer_pid; /* for people; the lock tells whether the writer is alive */
    _Atomic uint32_t closed; /* 1 once the writer has ended the ring properly */
    _Atomic uint64_t generation_counter; /* counts the changes of any slot's state */
    _Atomic uint64_t frame_counts[3]; /* frames begun, by stream, including dropped ones */
    _Atomic uint64_t drop_counts[3]; /* frames for which no slot was free, by stream */
    _Atomic uint8_t asleep[16]; /* what each reader waits for; the reader writes it */
    _Atomic uint32_t doorbell; /* a futex: counts the events that sleepers wait for */
    uint8_t reserved[108];
};

/* a reader's entry: that reader writes it, or the writer once the reader is dead */
struct lenslink_ring_reader {
    _Atomic uint64_t policy; /* 0 where there is no reader */
    _Atomic uint64_t streams; /* a bit for each stream that the reader wants */
    _Atomic uint64_t pins[4]; /* slots that the reader uses, counted from 1; 0 is none */
    _Atomic uint64_t last_sequences[3]; /* sequence of its last frame, by stream */
    _Atomic uint64_t delivered_frames; /* frames that the reader got */
    _Atomic uint64_t skipped_frames; /* frames that the reader was too slow for (LATEST) */
    _Atomic uint64_t dropped_frames; /* frames lost because slots were short (EVERY) */
    uint64_t pid; /* for people */
    uint8_t reserved[24];
};

/* a slot: one frame and its description */
struct lenslink_ring_slot {
    _Atomic uint64_t state_word; /* generation << 3 | state */
    _Atomic uint64_t rows_ready; /* rows from the top that arrived and passed their CRC */
    _Atomic uint64_t sequence; /* number of the frame in its stream, from 1; dropped frames count */
    _Atomic uint32_t stream; /* 0 preview, 1 still, 2 region of interest (ROI) */
    uint32_t nonce; /* nonce of the link's session */
    uint32_t number; /* the module's frame counter */
    uint32_t unused; /* 0 */
    uint32_t active_area[4]; /* top, left, bottom, right of the pixels that see light */
    uint64_t time_ns; /* host's CLOCK_MONOTONIC in mid-exposure of row 0, ns; 0 = unknown */
    uint64_t time_bound_ns; /* error bound of time_ns, ns; 0 = unknown; row_time_ns leads from row to row */
    uint64_t begin_ns; /* host's CLOCK_MONOTONIC at the frame's first packet, ns */
    _Atomic uint64_t first_rows_ns; /* the same when its first rows were ready; 0 before */
    uint64_t end_ns; /* the same at the frame's end */
    uint64_t received_bytes; /* bytes that arrived and passed their CRC */
    uint64_t energy_uj; /* energy that the FrameEnd reports, uJ; 0 = unknown */
    uint32_t status; /* FINISHED: complete or incomplete */
    uint32_t missing_count; /* number of ranges below */
    uint64_t missing_ranges[32]; /* half-open ranges of missing bytes */
    struct lenslink_ring_frame_start frame_start; /* payload of the frame's FrameStart, as on the wire */
    uint8_t reserved[32];
};

static_assert(sizeof(struct lenslink_ring_frame_start) == 104, "frame_start");
static_assert(offsetof(struct lenslink_ring_frame_start, size) == 0, "size");
static_assert(offsetof(struct lenslink_ring_frame_start, mode) == 2, "mode");
static_assert(offsetof(struct lenslink_ring_frame_start, request) == 4, "request");
static_assert(offsetof(struct lenslink_ring_frame_start, timestamp_us) == 8, "timestamp_us");
static_assert(offsetof(struct lenslink_ring_frame_start, width) == 16, "width");
static_assert(offsetof(struct lenslink_ring_frame_start, height) == 18, "height");
static_assert(offsetof(struct lenslink_ring_frame_start, cfa) == 20, "cfa");
static_assert(offsetof(struct lenslink_ring_frame_start, orientation) == 21, "orientation");
static_assert(offsetof(struct lenslink_ring_frame_start, bits) == 22, "bits");
static_assert(offsetof(struct lenslink_ring_frame_start, reserved) == 23, "reserved");
static_assert(offsetof(struct lenslink_ring_frame_start, pixel_format) == 24, "pixel_format");
static_assert(offsetof(struct lenslink_ring_frame_start, stride) == 28, "stride");
static_assert(offsetof(struct lenslink_ring_frame_start, white) == 32, "white");
static_assert(offsetof(struct lenslink_ring_frame_start, flags) == 36, "flags");
static_assert(offsetof(struct lenslink_ring_frame_start, reserved2) == 38, "reserved2");
static_assert(offsetof(struct lenslink_ring_frame_start, black_milli) == 40, "black_milli");
static_assert(offsetof(struct lenslink_ring_frame_start, exposure_us) == 56, "exposure_us");
static_assert(offsetof(struct lenslink_ring_frame_start, gain_milli) == 60, "gain_milli");
static_assert(offsetof(struct lenslink_ring_frame_start, focus_mdpt) == 64, "focus_mdpt");
static_assert(offsetof(struct lenslink_ring_frame_start, aperture_milli) == 68, "aperture_milli");
static_assert(offsetof(struct lenslink_ring_frame_start, interval_us) == 72, "interval_us");
static_assert(offsetof(struct lenslink_ring_frame_start, row_time_ns) == 76, "row_time_ns");
static_assert(offsetof(struct lenslink_ring_frame_start, noise_slope) == 80, "noise_slope");
static_assert(offsetof(struct lenslink_ring_frame_start, noise_offset) == 84, "noise_offset");
static_assert(offsetof(struct lenslink_ring_frame_start, focus_ring) == 88, "focus_ring");
static_assert(offsetof(struct lenslink_ring_frame_start, temperature_mc) == 92, "temperature_mc");
static_assert(offsetof(struct lenslink_ring_frame_start, crop_x) == 96, "crop_x");
static_assert(offsetof(struct lenslink_ring_frame_start, crop_y) == 98, "crop_y");
static_assert(sizeof(struct lenslink_ring_header) == 256, "header");
static_assert(offsetof(struct lenslink_ring_header, magic) == 0, "magic");
static_assert(offsetof(struct lenslink_ring_header, version) == 8, "version");
static_assert(offsetof(struct lenslink_ring_header, header_bytes) == 12, "header_bytes");
static_assert(offsetof(struct lenslink_ring_header, file_bytes) == 16, "file_bytes");
static_assert(offsetof(struct lenslink_ring_header, slots) == 24, "slots");
static_assert(offsetof(struct lenslink_ring_header, readers) == 28, "readers");
static_assert(offsetof(struct lenslink_ring_header, readers_at) == 32, "readers_at");
static_assert(offsetof(struct lenslink_ring_header, reader_bytes) == 36, "reader_bytes");
static_assert(offsetof(struct lenslink_ring_header, slots_at) == 40, "slots_at");
static_assert(offsetof(struct lenslink_ring_header, slot_bytes) == 44, "slot_bytes");
static_assert(offsetof(struct lenslink_ring_header, payloads_at) == 48, "payloads_at");
static_assert(offsetof(struct lenslink_ring_header, payload_bytes) == 56, "payload_bytes");
static_assert(offsetof(struct lenslink_ring_header, writer_pid) == 64, "writer_pid");
static_assert(offsetof(struct lenslink_ring_header, closed) == 68, "closed");
static_assert(offsetof(struct lenslink_ring_header, generation_counter) == 72, "generation_counter");
static_assert(offsetof(struct lenslink_ring_header, frame_counts) == 80, "frame_counts");
static_assert(offsetof(struct lenslink_ring_header, drop_counts) == 104, "drop_counts");
static_assert(offsetof(struct lenslink_ring_header, asleep) == 128, "asleep");
static_assert(offsetof(struct lenslink_ring_header, doorbell) == 144, "doorbell");
static_assert(sizeof(struct lenslink_ring_reader) == 128, "reader");
static_assert(offsetof(struct lenslink_ring_reader, policy) == 0, "policy");
static_assert(offsetof(struct lenslink_ring_reader, streams) == 8, "streams");
static_assert(offsetof(struct lenslink_ring_reader, pins) == 16, "pins");
static_assert(offsetof(struct lenslink_ring_reader, last_sequences) == 48, "last_sequences");
static_assert(offsetof(struct lenslink_ring_reader, delivered_frames) == 72, "delivered_frames");
static_assert(offsetof(struct lenslink_ring_reader, skipped_frames) == 80, "skipped_frames");
static_assert(offsetof(struct lenslink_ring_reader, dropped_frames) == 88, "dropped_frames");
static_assert(offsetof(struct lenslink_ring_reader, pid) == 96, "pid");
static_assert(sizeof(struct lenslink_ring_slot) == 512, "slot");
static_assert(offsetof(struct lenslink_ring_slot, state_word) == 0, "state_word");
static_assert(offsetof(struct lenslink_ring_slot, rows_ready) == 8, "rows_ready");
static_assert(offsetof(struct lenslink_ring_slot, sequence) == 16, "sequence");
static_assert(offsetof(struct lenslink_ring_slot, stream) == 24, "stream");
static_assert(offsetof(struct lenslink_ring_slot, nonce) == 28, "nonce");
static_assert(offsetof(struct lenslink_ring_slot, number) == 32, "number");
static_assert(offsetof(struct lenslink_ring_slot, unused) == 36, "unused");
static_assert(offsetof(struct lenslink_ring_slot, active_area) == 40, "active_area");
static_assert(offsetof(struct lenslink_ring_slot, time_ns) == 56, "time_ns");
static_assert(offsetof(struct lenslink_ring_slot, time_bound_ns) == 64, "time_bound_ns");
static_assert(offsetof(struct lenslink_ring_slot, begin_ns) == 72, "begin_ns");
static_assert(offsetof(struct lenslink_ring_slot, first_rows_ns) == 80, "first_rows_ns");
static_assert(offsetof(struct lenslink_ring_slot, end_ns) == 88, "end_ns");
static_assert(offsetof(struct lenslink_ring_slot, received_bytes) == 96, "received_bytes");
static_assert(offsetof(struct lenslink_ring_slot, energy_uj) == 104, "energy_uj");
static_assert(offsetof(struct lenslink_ring_slot, status) == 112, "status");
static_assert(offsetof(struct lenslink_ring_slot, missing_count) == 116, "missing_count");
static_assert(offsetof(struct lenslink_ring_slot, missing_ranges) == 120, "missing_ranges");
static_assert(offsetof(struct lenslink_ring_slot, frame_start) == 376, "frame_start");

#endif
