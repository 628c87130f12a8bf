/* Reads LensLink's ring of frames: an ISP in C11, on Linux. Header only.
 *
 *     struct lenslink_ring ring;
 *     struct lenslink_frame frame;
 *     int error = lenslink_ring_open(&ring, path, LENSLINK_RING_LATEST, 3, true);
 *     while (!error && !(error = lenslink_ring_next(&ring, &frame, 1000))) {
 *         uint32_t rows = 0;
 *         while (!error && rows < frame.slot->height && !lenslink_frame_over(&frame)) {
 *             error = lenslink_frame_wait(&ring, &frame, rows + 64, 1000, &rows);
 *             ... rows 0 to rows - 1 at frame.pixels are sound ...
 *         }
 *         lenslink_frame_release(&ring, &frame);
 *     }
 *     lenslink_ring_close(&ring);
 *
 * Functions return 0 or an errno value: ETIMEDOUT, EPIPE (the writer ended the ring), EOWNERDEAD
 * (the writer died), EBUSY (no entry, or no frame more, for this reader), EPROTO (what is in the
 * memory makes no sense), or what the system says. One thread a reader. The order of loads and
 * stores is explained in lenslink_ring.h.
 */
#ifndef LENSLINK_RING_READER_H
#define LENSLINK_RING_READER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lenslink_ring.h"

#ifndef F_OFD_SETLK
#error "define _GNU_SOURCE before the first include: F_OFD_SETLK is needed"
#endif

/* How long a writer may be gone before a sleeper knows. */
#define LENSLINK_RING_LOOK_NS INT64_C(100000000)

struct lenslink_ring {
    int descriptor;
    uint8_t *control;
    const uint8_t *payloads;
    size_t control_bytes;
    size_t payloads_bytes;
    struct lenslink_ring_header *header;
    struct lenslink_ring_reader *me;
    uint32_t number;
    uint32_t slots;
    uint32_t slots_at;
    uint32_t slot_bytes;
    uint64_t payload_bytes;
    uint64_t last[2];
    uint64_t policy;
    uint64_t streams;
    bool early;
};

struct lenslink_frame {
    const struct lenslink_ring_slot *slot; /* its plain fields may be read once it is held */
    const uint8_t *pixels;                 /* height rows of stride bytes */
    uint32_t height;
    uint32_t stride;
    uint32_t hold;
};

/* fcntl() on the lock of one byte: 0, or errno. */
static inline int lenslink_ring_lock_(int descriptor, int command, short kind, uint64_t byte,
                                      short *found)
{
    struct flock lock = {.l_type = kind, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
    int error = fcntl(descriptor, command, &lock) ? errno : 0;
    if (found)
        *found = lock.l_type;
    return error;
}

static inline bool lenslink_ring_writer_lives_(const struct lenslink_ring *ring)
{
    short found = F_UNLCK;
    int error = lenslink_ring_lock_(ring->descriptor, F_OFD_GETLK, F_WRLCK, 0, &found);
    return !error && found != F_UNLCK;
}

static inline struct lenslink_ring_slot *lenslink_ring_slot_(const struct lenslink_ring *ring,
                                                             uint32_t index)
{
    uint8_t *at = ring->control + ring->slots_at + (size_t)index * ring->slot_bytes;
    return (struct lenslink_ring_slot *)(void *)at;
}

static inline int64_t lenslink_ring_now_(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Whether places and sizes in the header fit the file and this code. */
static inline bool lenslink_ring_sound_(const struct lenslink_ring_header *h, uint64_t size)
{
    return h->version == LENSLINK_RING_VERSION && h->slots >= 1 &&
           h->slots <= LENSLINK_RING_MAX_SLOTS && h->readers == LENSLINK_RING_READERS &&
           h->header_bytes >= sizeof(struct lenslink_ring_header) &&
           h->header_bytes <= h->readers_at && h->readers_at % 8 == 0 &&
           h->reader_bytes >= sizeof(struct lenslink_ring_reader) && h->reader_bytes % 8 == 0 &&
           h->slot_bytes >= sizeof(struct lenslink_ring_slot) && h->slot_bytes % 8 == 0 &&
           h->slots_at % 8 == 0 &&
           h->readers_at + (uint64_t)h->readers * h->reader_bytes <= h->slots_at &&
           h->slots_at + (uint64_t)h->slots * h->slot_bytes <= h->payloads_at &&
           h->payloads_at == LENSLINK_RING_PAYLOADS_AT && h->payload_bytes > 0 &&
           h->payload_bytes <= LENSLINK_RING_MAX_PAYLOAD_BYTES &&
           h->payload_bytes % LENSLINK_RING_PAYLOADS_AT == 0 &&
           h->file_bytes == h->payloads_at + h->slots * h->payload_bytes && size >= h->file_bytes;
}

static inline void lenslink_ring_close(struct lenslink_ring *ring)
{
    if (ring->me) {
        for (uint32_t i = 0; i < LENSLINK_RING_HOLDS; i++)
            atomic_store_explicit(&ring->me->held[i], 0, memory_order_release);
        atomic_store_explicit(&ring->me->policy, 0, memory_order_release);
    }
    if (ring->control)
        munmap(ring->control, ring->control_bytes);
    if (ring->payloads)
        munmap((void *)(uintptr_t)ring->payloads, ring->payloads_bytes);
    if (ring->descriptor >= 0)
        close(ring->descriptor); /* and with it goes the lock on the entry */
    memset(ring, 0, sizeof *ring);
    ring->descriptor = -1;
}

/* Take an entry: whoever has its lock has it. */
static inline int lenslink_ring_join_(struct lenslink_ring *ring)
{
    struct lenslink_ring_header *h = ring->header;
    for (uint32_t i = 0; i < LENSLINK_RING_READERS; i++) {
        uint64_t at = h->readers_at + (uint64_t)i * h->reader_bytes;
        int error = lenslink_ring_lock_(ring->descriptor, F_OFD_SETLK, F_WRLCK, at, NULL);
        if (error == EAGAIN || error == EACCES)
            continue;
        if (error)
            return error;
        struct lenslink_ring_reader *me = (void *)(ring->control + at);
        atomic_store(&me->policy, 0);
        for (uint32_t hold = 0; hold < LENSLINK_RING_HOLDS; hold++)
            atomic_store(&me->held[hold], 0);
        atomic_store(&me->taken, 0);
        atomic_store(&me->skipped, 0);
        atomic_store(&me->dropped, 0);
        atomic_store(&me->streams, ring->streams);
        me->pid = (uint64_t)getpid();
        for (uint32_t s = 0; s < 2; s++) {
            ring->last[s] = ring->policy == LENSLINK_RING_EVERY ? atomic_load(&h->begun[s]) : 0;
            atomic_store(&me->seen[s], ring->last[s]);
        }
        ring->me = me;
        ring->number = i;
        atomic_store(&me->policy, ring->policy);
        if (ring->policy == LENSLINK_RING_LATEST)
            return 0;
        /* Of what began before, frames that have not ended yet. */
        for (uint32_t k = 0; k < ring->slots; k++) {
            struct lenslink_ring_slot *slot = lenslink_ring_slot_(ring, k);
            uint64_t mark = atomic_load(&slot->mark);
            uint64_t state = mark & ((1 << LENSLINK_RING_GENERATION_SHIFT) - 1);
            uint32_t stream = atomic_load(&slot->stream);
            uint64_t sequence = atomic_load(&slot->sequence);
            if (stream < 2 && atomic_load(&slot->mark) == mark && sequence > 0 &&
                (state == LENSLINK_RING_FILLING || state == LENSLINK_RING_STARTED) &&
                sequence - 1 < ring->last[stream])
                ring->last[stream] = sequence - 1;
        }
        for (uint32_t s = 0; s < 2; s++)
            atomic_store(&me->seen[s], ring->last[s]);
        return 0;
    }
    return EBUSY;
}

/* Begin to read the ring at `path`; `streams` has bit 0 for the preview, bit 1 for the still. With
 * `early`, frames come as soon as their first rows are there. */
static inline int lenslink_ring_open(struct lenslink_ring *ring, const char *path, uint64_t policy,
                                     uint64_t streams, bool early)
{
    memset(ring, 0, sizeof *ring);
    ring->policy = policy;
    ring->streams = streams;
    ring->early = early;
    ring->descriptor = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (ring->descriptor < 0)
        return errno;
    struct stat about;
    int error = EPROTO;
    void *mapped;
    if (fstat(ring->descriptor, &about)) {
        error = errno;
        goto failed;
    }
    if (!S_ISREG(about.st_mode) || about.st_uid != getuid() ||
        about.st_size < LENSLINK_RING_PAYLOADS_AT)
        goto failed;
    mapped = mmap(NULL, LENSLINK_RING_PAYLOADS_AT, PROT_READ | PROT_WRITE, MAP_SHARED,
                  ring->descriptor, 0);
    if (mapped == MAP_FAILED) {
        error = errno;
        goto failed;
    }
    ring->control = mapped;
    ring->control_bytes = LENSLINK_RING_PAYLOADS_AT;
    ring->header = mapped;
    if (atomic_load_explicit(&ring->header->magic, memory_order_acquire) != LENSLINK_RING_MAGIC ||
        !lenslink_ring_sound_(ring->header, (uint64_t)about.st_size))
        goto failed;
    ring->slots = ring->header->slots;
    ring->slots_at = ring->header->slots_at;
    ring->slot_bytes = ring->header->slot_bytes;
    ring->payload_bytes = ring->header->payload_bytes;
    ring->payloads_bytes = (size_t)(ring->slots * ring->payload_bytes);
    mapped = mmap(NULL, ring->payloads_bytes, PROT_READ, MAP_SHARED, ring->descriptor,
                  LENSLINK_RING_PAYLOADS_AT);
    if (mapped == MAP_FAILED) {
        error = errno;
        goto failed;
    }
    ring->payloads = mapped;
    error = lenslink_ring_writer_lives_(ring) ? lenslink_ring_join_(ring) : EOWNERDEAD;
    if (!error)
        return 0;
failed:
    lenslink_ring_close(ring);
    return error;
}

/* Sleep until the bell has another value than `bell`, for 100 ms at most. */
static inline void lenslink_ring_sleep_(struct lenslink_ring *ring, uint32_t bell, int64_t until,
                                        uint8_t what)
{
    int64_t span = until - lenslink_ring_now_();
    if (span > LENSLINK_RING_LOOK_NS)
        span = LENSLINK_RING_LOOK_NS;
    if (span <= 0)
        return;
    struct timespec time = {.tv_sec = 0, .tv_nsec = (long)span};
    atomic_store(&ring->header->asleep[ring->number], what);
    atomic_thread_fence(memory_order_seq_cst);
    syscall(SYS_futex, &ring->header->bell, FUTEX_WAIT, bell, &time, NULL, 0);
    atomic_store(&ring->header->asleep[ring->number], LENSLINK_RING_ASLEEP_AWAKE);
}

static inline int lenslink_ring_over_(const struct lenslink_ring *ring)
{
    if (atomic_load_explicit(&ring->header->closed, memory_order_acquire))
        return EPIPE;
    return lenslink_ring_writer_lives_(ring) ? 0 : EOWNERDEAD;
}

static inline void lenslink_ring_count_(struct lenslink_ring *ring, uint32_t stream,
                                        uint64_t sequence, bool taken)
{
    uint64_t missed = sequence - ring->last[stream] - 1;
    if (ring->policy == LENSLINK_RING_EVERY)
        atomic_fetch_add(&ring->me->dropped, missed);
    else if (ring->last[stream])
        atomic_fetch_add(&ring->me->skipped, missed);
    if (taken)
        atomic_fetch_add(&ring->me->taken, 1);
    ring->last[stream] = sequence;
    atomic_store_explicit(&ring->me->seen[stream], sequence, memory_order_release);
}

/* The slot to read next, or `slots`: a still before a preview, since it is rare. */
static inline uint32_t lenslink_ring_choose_(struct lenslink_ring *ring, uint64_t *mark)
{
    for (uint32_t stream = 2; stream-- > 0;) {
        bool again = (ring->streams >> stream & 1) != 0;
        while (again) {
            uint32_t best = ring->slots;
            uint64_t best_sequence = 0, best_mark = 0;
            again = false;
            for (uint32_t i = 0; i < ring->slots; i++) {
                struct lenslink_ring_slot *slot = lenslink_ring_slot_(ring, i);
                uint64_t m = atomic_load_explicit(&slot->mark, memory_order_acquire);
                uint64_t state = m & ((1 << LENSLINK_RING_GENERATION_SHIFT) - 1);
                uint64_t sequence = atomic_load_explicit(&slot->sequence, memory_order_acquire);
                bool ready = state == LENSLINK_RING_FINISHED ||
                             (ring->early && state == LENSLINK_RING_STARTED &&
                              atomic_load_explicit(&slot->rows_ready, memory_order_acquire));
                if (state == LENSLINK_RING_FREE || atomic_load(&slot->stream) != stream ||
                    sequence <= ring->last[stream])
                    continue;
                if (ring->policy == LENSLINK_RING_LATEST
                        ? ready && sequence > best_sequence
                        : best == ring->slots || sequence < best_sequence) {
                    best = i;
                    best_sequence = sequence;
                    best_mark = m;
                }
            }
            if (best == ring->slots)
                break;
            struct lenslink_ring_slot *slot = lenslink_ring_slot_(ring, best);
            uint64_t state = best_mark & ((1 << LENSLINK_RING_GENERATION_SHIFT) - 1);
            if (state == LENSLINK_RING_ABORTED) {
                lenslink_ring_count_(ring, stream, best_sequence, false);
                again = true;
            } else if (state == LENSLINK_RING_FINISHED ||
                       (ring->early && state == LENSLINK_RING_STARTED &&
                        atomic_load_explicit(&slot->rows_ready, memory_order_acquire))) {
                *mark = best_mark;
                return best;
            }
        }
    }
    return ring->slots;
}

/* Hold the slot, then see whether it still is what it was. */
static inline int lenslink_ring_claim_(struct lenslink_ring *ring, struct lenslink_frame *frame,
                                       uint32_t index, uint64_t mark, uint32_t hold)
{
    struct lenslink_ring_slot *slot = lenslink_ring_slot_(ring, index);
    atomic_store(&ring->me->held[hold], (uint64_t)index + 1);
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t now = atomic_load_explicit(&slot->mark, memory_order_acquire);
    uint64_t state = now & ((1 << LENSLINK_RING_GENERATION_SHIFT) - 1);
    uint32_t stream = atomic_load(&slot->stream);
    int error = EAGAIN;
    if (now >> LENSLINK_RING_GENERATION_SHIFT == mark >> LENSLINK_RING_GENERATION_SHIFT &&
        stream < 2 && (state == LENSLINK_RING_STARTED || state == LENSLINK_RING_FINISHED)) {
        lenslink_ring_count_(ring, stream, atomic_load(&slot->sequence), true);
        frame->slot = slot;
        frame->pixels = ring->payloads + (size_t)index * ring->payload_bytes;
        frame->height = slot->height;
        frame->stride = slot->stride;
        frame->hold = hold;
        if (frame->height && frame->stride &&
            (uint64_t)frame->height * frame->stride <= ring->payload_bytes)
            return 0;
        error = EPROTO;
    }
    atomic_store_explicit(&ring->me->held[hold], 0, memory_order_release);
    return error;
}

/* The next frame; it is held until it is released. What is whole comes also after the writer's end:
 * EPIPE or EOWNERDEAD follow it. */
static inline int lenslink_ring_next(struct lenslink_ring *ring, struct lenslink_frame *frame,
                                     int64_t timeout_ms)
{
    int64_t until = lenslink_ring_now_() + timeout_ms * 1000000;
    uint32_t most = ring->policy == LENSLINK_RING_LATEST ? 2 : LENSLINK_RING_HOLDS;
    uint32_t hold = 0;
    int over = 0;
    while (hold < most && atomic_load(&ring->me->held[hold]))
        hold++;
    if (hold == most)
        return EBUSY;
    for (;;) {
        uint32_t bell = atomic_load(&ring->header->bell);
        uint64_t mark = 0;
        uint32_t index;
        while ((index = lenslink_ring_choose_(ring, &mark)) < ring->slots) {
            int error = lenslink_ring_claim_(ring, frame, index, mark, hold);
            if (error != EAGAIN)
                return error;
        }
        if (over)
            return over;
        over = lenslink_ring_over_(ring);
        if (!over && lenslink_ring_now_() >= until)
            return ETIMEDOUT;
        if (!over)
            lenslink_ring_sleep_(
                ring, bell, until,
                ring->early ? LENSLINK_RING_ASLEEP_STRIP : LENSLINK_RING_ASLEEP_FRAME);
    }
}

/* Whether nothing of the frame changes any more. */
static inline bool lenslink_frame_over(const struct lenslink_frame *frame)
{
    uint64_t mark = atomic_load_explicit(&frame->slot->mark, memory_order_acquire);
    return (mark & ((1 << LENSLINK_RING_GENERATION_SHIFT) - 1)) >= LENSLINK_RING_FINISHED;
}

/* Wait for `rows` rows, or for the frame's end; how many there are is in `*ready`. With more rows
 * than it has, this waits for its end: only then are its status and its gaps known. */
static inline int lenslink_frame_wait(struct lenslink_ring *ring, const struct lenslink_frame *frame,
                                      uint32_t rows, int64_t timeout_ms, uint32_t *ready)
{
    int64_t until = lenslink_ring_now_() + timeout_ms * 1000000;
    for (;;) {
        uint32_t bell = atomic_load(&ring->header->bell);
        int over = lenslink_ring_over_(ring);
        bool finished = lenslink_frame_over(frame);
        uint64_t there = atomic_load_explicit(&frame->slot->rows_ready, memory_order_acquire);
        *ready = there > frame->height ? frame->height : (uint32_t)there;
        if (finished || *ready >= rows)
            return 0;
        if (over)
            return over;
        if (lenslink_ring_now_() >= until)
            return ETIMEDOUT;
        lenslink_ring_sleep_(ring, bell, until, LENSLINK_RING_ASLEEP_STRIP);
    }
}

/* Give the slot back: its pixels must not be used any more. */
static inline void lenslink_frame_release(struct lenslink_ring *ring, struct lenslink_frame *frame)
{
    atomic_store_explicit(&ring->me->held[frame->hold], 0, memory_order_release);
    memset(frame, 0, sizeof *frame);
}

#endif
