/* Read LensLink's frame ring from an ISP in C11, on Linux. This header is all that is needed.
 *
 * It needs the atomics of C11, so it compiles neither as C99 nor as C++.
 *
 *     struct lenslink_ring ring;
 *     struct lenslink_frame frame;
 *     int error = lenslink_ring_open(&ring, path, LENSLINK_RING_LATEST,
 *                                    LENSLINK_RING_ALL_STREAMS, true);
 *     while (!error && !(error = lenslink_ring_next(&ring, &frame, 1000))) {
 *         uint32_t rows = 0;
 *         while (!error && rows < frame.height && !lenslink_frame_over(&frame)) {
 *             error = lenslink_frame_wait(&ring, &frame, rows + 64, 1000, &rows);
 *             ... rows 0 to rows - 1 at frame.pixels have arrived and are correct ...
 *         }
 *         lenslink_frame_release(&ring, &frame);
 *     }
 *     lenslink_ring_close(&ring);
 *
 * Functions return 0 or an errno value:
 *
 *     ETIMEDOUT    nothing came in time
 *     EPIPE        the writer ended the ring
 *     EOWNERDEAD   the writer died
 *     EBUSY        the ring has no entry for another reader, or the reader no free pin
 *     EPROTO       the memory holds impossible values
 *     others       what the system reports
 *
 * Only one thread may use a reader. A reader uses each of its pins so:
 *
 *     state     event                                         next state
 *     --------  --------------------------------------------  ----------
 *     FREE      lenslink_ring_next() has chosen a slot        CLAIMED (the pin is stored)
 *     CLAIMED   the state word is unchanged                   PINNED (the frame is delivered)
 *     CLAIMED   the writer has taken the slot                 FREE
 *     PINNED    lenslink_frame_release()                      FREE
 *
 * lenslink_ring.h explains the order of loads and stores.
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

/* A sleeper notices the writer's death after at most this time. */
#define LENSLINK_RING_LOOK_NS INT64_C(100000000)

/* Every stream, for lenslink_ring_open(). */
#define LENSLINK_RING_ALL_STREAMS ((UINT64_C(1) << LENSLINK_RING_MAX_STREAMS) - 1)

/* The stream of stills. */
#define LENSLINK_RING_STILL 1u

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
    uint64_t last[LENSLINK_RING_MAX_STREAMS];
    uint32_t recent; /* the stream of the last frame */
    uint64_t policy;
    uint64_t streams;
    bool early;
};

struct lenslink_frame {
    const struct lenslink_ring_slot *slot; /* its plain fields may be read while it is pinned */
    const uint8_t *pixels;                 /* height rows of stride bytes */
    uint32_t height;
    uint32_t stride;
    uint32_t pin;
};

/* Apply fcntl() to the lock of one byte, and return 0 or errno. */
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

/* Return true if offsets and sizes in the header fit the file and this code. */
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
        for (uint32_t i = 0; i < LENSLINK_RING_PINS; i++)
            atomic_store_explicit(&ring->me->pins[i], 0, memory_order_release);
        atomic_store_explicit(&ring->me->policy, 0, memory_order_release);
    }
    if (ring->control)
        munmap(ring->control, ring->control_bytes);
    if (ring->payloads)
        munmap((void *)(uintptr_t)ring->payloads, ring->payloads_bytes);
    if (ring->descriptor >= 0)
        close(ring->descriptor); /* this releases the lock on the entry too */
    memset(ring, 0, sizeof *ring);
    ring->descriptor = -1;
}

/* Take an entry: the process that holds its lock owns it. */
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
        for (uint32_t pin = 0; pin < LENSLINK_RING_PINS; pin++)
            atomic_store(&me->pins[pin], 0);
        atomic_store(&me->delivered_frames, 0);
        atomic_store(&me->skipped_frames, 0);
        atomic_store(&me->dropped_frames, 0);
        atomic_store(&me->streams, ring->streams);
        me->pid = (uint64_t)getpid();
        for (uint32_t s = 0; s < LENSLINK_RING_MAX_STREAMS; s++) {
            ring->last[s] =
                ring->policy == LENSLINK_RING_EVERY ? atomic_load(&h->frame_counts[s]) : 0;
            atomic_store(&me->last_sequences[s], ring->last[s]);
        }
        ring->me = me;
        ring->number = i;
        atomic_store(&me->policy, ring->policy);
        if (ring->policy == LENSLINK_RING_LATEST)
            return 0;
        /* Frames that began before but have not ended yet are wanted too. */
        for (uint32_t k = 0; k < ring->slots; k++) {
            struct lenslink_ring_slot *slot = lenslink_ring_slot_(ring, k);
            uint64_t word = atomic_load(&slot->state_word);
            uint64_t state = word & ((1 << LENSLINK_RING_GENERATION_SHIFT) - 1);
            uint32_t stream = atomic_load(&slot->stream);
            uint64_t sequence = atomic_load(&slot->sequence);
            if (stream < LENSLINK_RING_MAX_STREAMS && atomic_load(&slot->state_word) == word && sequence > 0 &&
                (state == LENSLINK_RING_FILLING || state == LENSLINK_RING_STARTED) &&
                sequence - 1 < ring->last[stream])
                ring->last[stream] = sequence - 1;
        }
        for (uint32_t s = 0; s < LENSLINK_RING_MAX_STREAMS; s++)
            atomic_store(&me->last_sequences[s], ring->last[s]);
        return 0;
    }
    return EBUSY;
}

/* Start to read the ring at `path`. `streams` has a bit for each stream: bit 0 for the preview,
 * bit 1 for the still. With `early`, frames are delivered as soon as their first rows are there. */
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

/* Sleep until the doorbell differs from `doorbell`, for at most 100 ms. */
static inline void lenslink_ring_sleep_(struct lenslink_ring *ring, uint32_t doorbell,
                                        int64_t until, uint8_t what)
{
    int64_t span = until - lenslink_ring_now_();
    if (span > LENSLINK_RING_LOOK_NS)
        span = LENSLINK_RING_LOOK_NS;
    if (span <= 0)
        return;
    struct timespec time = {.tv_sec = 0, .tv_nsec = (long)span};
    atomic_store(&ring->header->asleep[ring->number], what);
    atomic_thread_fence(memory_order_seq_cst);
    syscall(SYS_futex, &ring->header->doorbell, FUTEX_WAIT, doorbell, &time, NULL, 0);
    atomic_store(&ring->header->asleep[ring->number], LENSLINK_RING_ASLEEP_AWAKE);
}

static inline int lenslink_ring_end_(const struct lenslink_ring *ring)
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
        atomic_fetch_add(&ring->me->dropped_frames, missed);
    else if (ring->last[stream])
        atomic_fetch_add(&ring->me->skipped_frames, missed);
    if (taken)
        atomic_fetch_add(&ring->me->delivered_frames, 1);
    ring->last[stream] = sequence;
    atomic_store_explicit(&ring->me->last_sequences[stream], sequence, memory_order_release);
}

/* Return the slot to read next, or `slots` if there is none. Stills come first: they are rare. The
 * other streams take turns. */
static inline uint32_t lenslink_ring_choose_(struct lenslink_ring *ring, uint64_t *word)
{
    for (uint32_t turn = 0; turn <= LENSLINK_RING_MAX_STREAMS; turn++) {
        uint32_t stream =
            turn == 0 ? LENSLINK_RING_STILL : (ring->recent + turn) % LENSLINK_RING_MAX_STREAMS;
        bool again = (ring->streams >> stream & 1) != 0;
        while (again) {
            uint32_t best = ring->slots;
            uint64_t best_sequence = 0, best_word = 0;
            again = false;
            for (uint32_t i = 0; i < ring->slots; i++) {
                struct lenslink_ring_slot *slot = lenslink_ring_slot_(ring, i);
                uint64_t m = atomic_load_explicit(&slot->state_word, memory_order_acquire);
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
                    best_word = m;
                }
            }
            if (best == ring->slots)
                break;
            struct lenslink_ring_slot *slot = lenslink_ring_slot_(ring, best);
            uint64_t state = best_word & ((1 << LENSLINK_RING_GENERATION_SHIFT) - 1);
            if (state == LENSLINK_RING_ABORTED) {
                lenslink_ring_count_(ring, stream, best_sequence, false);
                again = true;
            } else if (state == LENSLINK_RING_FINISHED ||
                       (ring->early && state == LENSLINK_RING_STARTED &&
                        atomic_load_explicit(&slot->rows_ready, memory_order_acquire))) {
                *word = best_word;
                return best;
            }
        }
    }
    return ring->slots;
}

/* Pin the slot, then check that the writer has not taken it meanwhile. */
static inline int lenslink_ring_claim_(struct lenslink_ring *ring, struct lenslink_frame *frame,
                                       uint32_t index, uint64_t word, uint32_t pin)
{
    struct lenslink_ring_slot *slot = lenslink_ring_slot_(ring, index);
    atomic_store(&ring->me->pins[pin], (uint64_t)index + 1);
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t now = atomic_load_explicit(&slot->state_word, memory_order_acquire);
    uint64_t state = now & ((1 << LENSLINK_RING_GENERATION_SHIFT) - 1);
    uint32_t stream = atomic_load(&slot->stream);
    int error = EAGAIN;
    if (now >> LENSLINK_RING_GENERATION_SHIFT == word >> LENSLINK_RING_GENERATION_SHIFT &&
        stream < LENSLINK_RING_MAX_STREAMS && (state == LENSLINK_RING_STARTED || state == LENSLINK_RING_FINISHED)) {
        lenslink_ring_count_(ring, stream, atomic_load(&slot->sequence), true);
        ring->recent = stream;
        frame->slot = slot;
        frame->pixels = ring->payloads + (size_t)index * ring->payload_bytes;
        frame->height = slot->frame_start.height;
        frame->stride = slot->frame_start.stride;
        frame->pin = pin;
        if (frame->height && frame->stride &&
            (uint64_t)frame->height * frame->stride <= ring->payload_bytes)
            return 0;
        error = EPROTO;
    }
    atomic_store_explicit(&ring->me->pins[pin], 0, memory_order_release);
    return error;
}

/* Pin and return the next frame. Finished frames are delivered also after the writer's end. Then
 * the function returns EPIPE or EOWNERDEAD. */
static inline int lenslink_ring_next(struct lenslink_ring *ring, struct lenslink_frame *frame,
                                     int64_t timeout_ms)
{
    int64_t until = lenslink_ring_now_() + timeout_ms * 1000000;
    uint32_t most = ring->policy == LENSLINK_RING_LATEST ? 2 : LENSLINK_RING_PINS;
    uint32_t pin = 0;
    int over = 0;
    while (pin < most && atomic_load(&ring->me->pins[pin]))
        pin++;
    if (pin == most)
        return EBUSY;
    for (;;) {
        uint32_t doorbell = atomic_load(&ring->header->doorbell);
        uint64_t word = 0;
        uint32_t index;
        while ((index = lenslink_ring_choose_(ring, &word)) < ring->slots) {
            int error = lenslink_ring_claim_(ring, frame, index, word, pin);
            if (error != EAGAIN)
                return error;
        }
        if (over)
            return over;
        over = lenslink_ring_end_(ring);
        if (!over && lenslink_ring_now_() >= until)
            return ETIMEDOUT;
        if (!over)
            lenslink_ring_sleep_(
                ring, doorbell, until,
                ring->early ? LENSLINK_RING_ASLEEP_ROWS : LENSLINK_RING_ASLEEP_FRAME);
    }
}

/* Return true if nothing of the frame will change any more. */
static inline bool lenslink_frame_over(const struct lenslink_frame *frame)
{
    uint64_t word = atomic_load_explicit(&frame->slot->state_word, memory_order_acquire);
    return (word & ((1 << LENSLINK_RING_GENERATION_SHIFT) - 1)) >= LENSLINK_RING_FINISHED;
}

/* Wait for `rows` rows or for the frame's end, and store the number of rows in `*ready`. With more
 * rows than the frame has, wait for its end: only then are its status and missing ranges known. */
static inline int lenslink_frame_wait(struct lenslink_ring *ring, const struct lenslink_frame *frame,
                                      uint32_t rows, int64_t timeout_ms, uint32_t *ready)
{
    int64_t until = lenslink_ring_now_() + timeout_ms * 1000000;
    for (;;) {
        uint32_t doorbell = atomic_load(&ring->header->doorbell);
        int over = lenslink_ring_end_(ring);
        bool finished = lenslink_frame_over(frame);
        uint64_t there = atomic_load_explicit(&frame->slot->rows_ready, memory_order_acquire);
        *ready = there > frame->height ? frame->height : (uint32_t)there;
        if (finished || *ready >= rows)
            return 0;
        if (over)
            return over;
        if (lenslink_ring_now_() >= until)
            return ETIMEDOUT;
        lenslink_ring_sleep_(ring, doorbell, until, LENSLINK_RING_ASLEEP_ROWS);
    }
}

/* Clear the pin: the frame's pixels must not be used any more. */
static inline void lenslink_frame_release(struct lenslink_ring *ring, struct lenslink_frame *frame)
{
    atomic_store_explicit(&ring->me->pins[frame->pin], 0, memory_order_release);
    memset(frame, 0, sizeof *frame);
}

#endif
