/* The memory of LensLink's frame ring, for C11.
 *
 * Generated from lenslink_protocol/ringlayout.py by `make gen`; do not edit.
 *
 * It is a contract with programs of others, as the wire is; the C header ``lenslink_ring.h`` is
 * generated from it (:mod:`.ringheader`), and the driver uses it as it stands. All is little-endian,
 * and every field is aligned to its own size, so that C lays the structures out alike.
 *
 * A file in shared memory holds a page of control data and then the slots' payloads::
 *
 *     0                 Header
 *     READERS_AT        READERS times Reader
 *     SLOTS_AT          as many Slot as the header says
 *     PAYLOADS_AT       the payloads, payload_bytes apart
 *
 * Who may write what: the writer everything but the reader entries; a reader its own entry and its own
 * byte of ``asleep``. So no field has two writers, and nobody needs compare-and-swap.
 *
 * Who lives: the writer holds a write lock on the file's first byte, a reader one on the first byte of
 * its entry, both as open file description locks (``F_OFD_SETLK``). The kernel lets go of them when
 * their holder dies, however it dies, and knows nothing of pids that are used again. Whoever gets the
 * lock of an entry owns that entry, and whoever gets the writer's lock may remove the file.
 *
 * Fields marked atomic are read and written by one aligned access of their size. How the two sides
 * keep in order:
 *
 * - The writer stores a frame's pixels before ``rows_ready`` and its description before ``mark``
 *   (release); a reader loads these before those (acquire).
 * - To take a slot the writer stores a ``mark`` with the next generation, passes a full fence, and
 *   loads every ``held``. A reader stores ``held``, passes a full fence, and loads ``mark`` again. One
 *   of them sees the other: either the reader finds another generation and lets go, or the writer
 *   finds the slot held and puts the old ``mark`` back.
 * - A reader that sleeps stores its ``asleep`` and waits on ``bell`` with the value that it loaded
 *   before it last looked; the writer adds 1 to ``bell``, passes a full fence at each change of a
 *   frame's state, and wakes whom it sees asleep. For strips it passes none: a sleeper missed there is
 *   woken by the next one. Nobody sleeps longer than 100 ms without looking.
 *
 * In C these are the atomics of C11. x86 keeps loads and stores in order by itself, but for a store
 * followed by a load: that takes the fence. ARM keeps nothing: release, acquire and fence are
 * instructions there, which Python lacks. There Python uses for all three a full barrier of the
 * system's: ``membarrier()`` on Linux.
 */
#ifndef LENSLINK_RING_H
#define LENSLINK_RING_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the ring is little-endian"
#endif

#define LENSLINK_RING_MAGIC UINT64_C(0x0A0D474E49524C4C)
#define LENSLINK_RING_VERSION 1
#define LENSLINK_RING_READERS 16
#define LENSLINK_RING_HOLDS 4
#define LENSLINK_RING_MAX_SLOTS 64
#define LENSLINK_RING_MAX_UNCOVERED 16
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
    LENSLINK_RING_ASLEEP_STRIP = 2,
};

enum {
    LENSLINK_RING_COMPLETE = 0,
    LENSLINK_RING_INCOMPLETE = 1,
};

/* what begins the file */
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
    uint32_t writer_pid; /* for people: the lock tells whether it lives */
    _Atomic uint32_t closed; /* 1 once the writer has ended the ring in good order */
    _Atomic uint64_t turns; /* counts the changes of any slot's state */
    _Atomic uint64_t begun[2]; /* frames begun, by stream, the dropped ones included */
    _Atomic uint64_t dropped[2]; /* of them, those for which no slot was free */
    _Atomic uint8_t asleep[16]; /* what each reader waits for; written by that reader */
    _Atomic uint32_t bell; /* a futex: counts what is worth waking up for */
    uint8_t reserved[124];
};

/* a reader's entry: only that reader writes it, and the writer once that reader is dead */
struct lenslink_ring_reader {
    _Atomic uint64_t policy; /* 0 where there is no reader */
    _Atomic uint64_t streams; /* a bit for each stream that it reads */
    _Atomic uint64_t held[4]; /* slots it reads from, counted from 1; 0 is none */
    _Atomic uint64_t seen[2]; /* sequence of its last frame, by stream */
    _Atomic uint64_t taken; /* frames it has had */
    _Atomic uint64_t skipped; /* frames that it did not take (LATEST) */
    _Atomic uint64_t dropped; /* frames that it did not get, since slots were short (EVERY) */
    uint64_t pid; /* for people */
    uint8_t reserved[32];
};

/* a slot: one frame, and what is known of it */
struct lenslink_ring_slot {
    _Atomic uint64_t mark; /* generation << 3 | state */
    _Atomic uint64_t rows_ready; /* rows from the top on that arrived and passed their CRC */
    _Atomic uint64_t sequence; /* counts the frames of the stream that were begun, from 1 */
    _Atomic uint32_t stream; /* 0 preview, 1 still */
    uint32_t nonce; /* session of the link that the frame came in */
    uint32_t number; /* the module's frame counter */
    uint32_t pixel_format; /* PFNC code */
    uint32_t width; /* pixels a row */
    uint32_t height; /* rows */
    uint32_t stride; /* bytes a row */
    uint32_t bits; /* bits a pixel */
    uint32_t cfa; /* colour filter array phase, as on the wire */
    uint32_t orientation; /* EXIF orientation, 1 to 8 */
    uint32_t white; /* white level, DN */
    uint32_t gain_milli; /* gain, 1/1000 */
    uint32_t black_milli[4]; /* black level of the 2 x 2 pixels, 1/1000 DN */
    uint32_t active_area[4]; /* top, left, bottom, right of the pixels that see light */
    int32_t focus_mdpt; /* focus, milli-dioptres, 0 = infinity */
    int32_t temperature_mc; /* sensor temperature, 1/1000 degree C */
    uint64_t timestamp_us; /* module's clock at the start of readout, us */
    uint64_t exposure_us; /* exposure time, us */
    uint64_t begun_ns; /* host's CLOCK_MONOTONIC when the frame's first packet came, ns */
    _Atomic uint64_t first_rows_ns; /* the same when its first rows were ready; 0 before */
    uint64_t finished_ns; /* the same when it was finished */
    uint64_t covered_bytes; /* bytes that arrived and passed their CRC */
    uint32_t status; /* FINISHED: complete or incomplete */
    uint32_t uncovered_count; /* ranges below */
    uint64_t uncovered[32]; /* first byte and byte behind it of what did not arrive */
    uint8_t reserved[88];
};

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
static_assert(offsetof(struct lenslink_ring_header, turns) == 72, "turns");
static_assert(offsetof(struct lenslink_ring_header, begun) == 80, "begun");
static_assert(offsetof(struct lenslink_ring_header, dropped) == 96, "dropped");
static_assert(offsetof(struct lenslink_ring_header, asleep) == 112, "asleep");
static_assert(offsetof(struct lenslink_ring_header, bell) == 128, "bell");
static_assert(sizeof(struct lenslink_ring_reader) == 128, "reader");
static_assert(offsetof(struct lenslink_ring_reader, policy) == 0, "policy");
static_assert(offsetof(struct lenslink_ring_reader, streams) == 8, "streams");
static_assert(offsetof(struct lenslink_ring_reader, held) == 16, "held");
static_assert(offsetof(struct lenslink_ring_reader, seen) == 48, "seen");
static_assert(offsetof(struct lenslink_ring_reader, taken) == 64, "taken");
static_assert(offsetof(struct lenslink_ring_reader, skipped) == 72, "skipped");
static_assert(offsetof(struct lenslink_ring_reader, dropped) == 80, "dropped");
static_assert(offsetof(struct lenslink_ring_reader, pid) == 88, "pid");
static_assert(sizeof(struct lenslink_ring_slot) == 512, "slot");
static_assert(offsetof(struct lenslink_ring_slot, mark) == 0, "mark");
static_assert(offsetof(struct lenslink_ring_slot, rows_ready) == 8, "rows_ready");
static_assert(offsetof(struct lenslink_ring_slot, sequence) == 16, "sequence");
static_assert(offsetof(struct lenslink_ring_slot, stream) == 24, "stream");
static_assert(offsetof(struct lenslink_ring_slot, nonce) == 28, "nonce");
static_assert(offsetof(struct lenslink_ring_slot, number) == 32, "number");
static_assert(offsetof(struct lenslink_ring_slot, pixel_format) == 36, "pixel_format");
static_assert(offsetof(struct lenslink_ring_slot, width) == 40, "width");
static_assert(offsetof(struct lenslink_ring_slot, height) == 44, "height");
static_assert(offsetof(struct lenslink_ring_slot, stride) == 48, "stride");
static_assert(offsetof(struct lenslink_ring_slot, bits) == 52, "bits");
static_assert(offsetof(struct lenslink_ring_slot, cfa) == 56, "cfa");
static_assert(offsetof(struct lenslink_ring_slot, orientation) == 60, "orientation");
static_assert(offsetof(struct lenslink_ring_slot, white) == 64, "white");
static_assert(offsetof(struct lenslink_ring_slot, gain_milli) == 68, "gain_milli");
static_assert(offsetof(struct lenslink_ring_slot, black_milli) == 72, "black_milli");
static_assert(offsetof(struct lenslink_ring_slot, active_area) == 88, "active_area");
static_assert(offsetof(struct lenslink_ring_slot, focus_mdpt) == 104, "focus_mdpt");
static_assert(offsetof(struct lenslink_ring_slot, temperature_mc) == 108, "temperature_mc");
static_assert(offsetof(struct lenslink_ring_slot, timestamp_us) == 112, "timestamp_us");
static_assert(offsetof(struct lenslink_ring_slot, exposure_us) == 120, "exposure_us");
static_assert(offsetof(struct lenslink_ring_slot, begun_ns) == 128, "begun_ns");
static_assert(offsetof(struct lenslink_ring_slot, first_rows_ns) == 136, "first_rows_ns");
static_assert(offsetof(struct lenslink_ring_slot, finished_ns) == 144, "finished_ns");
static_assert(offsetof(struct lenslink_ring_slot, covered_bytes) == 152, "covered_bytes");
static_assert(offsetof(struct lenslink_ring_slot, status) == 160, "status");
static_assert(offsetof(struct lenslink_ring_slot, uncovered_count) == 164, "uncovered_count");
static_assert(offsetof(struct lenslink_ring_slot, uncovered) == 168, "uncovered");

#endif
