/* Print a line for each frame of a frame ring until the ring ends: an ISP that only adds.
 *
 *     cc -std=c11 -O2 lenslink_ring_sum.c -o ring_sum
 *     ./ring_sum /dev/shm/lenslink-1000-NAME.ring latest|every [early]
 *
 * A line holds: stream, sequence, the module's frame number, width, height, status, Adler-32 of the
 * rows, and the number of rows that were there at the start. An early frame is summed strip by
 * strip, as its rows arrive. The exit code is 0 if the ring was closed, 1 if its writer died, and 2
 * for any other error.
 */
#include "lenslink_ring_reader.h"

#include <inttypes.h>
#include <stdio.h>

static uint32_t adler32(uint32_t sum, const uint8_t *data, size_t count)
{
    uint32_t a = sum & 0xFFFF, b = sum >> 16;
    for (size_t i = 0; i < count; i++) {
        a = (a + data[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

int main(int count, char **words)
{
    if (count < 3) {
        fprintf(stderr, "usage: %s RING latest|every [early]\n", words[0]);
        return 2;
    }
    uint64_t policy = strcmp(words[2], "every") ? LENSLINK_RING_LATEST : LENSLINK_RING_EVERY;
    struct lenslink_ring ring;
    struct lenslink_frame frame;
    int error = lenslink_ring_open(&ring, words[1], policy, LENSLINK_RING_ALL_STREAMS, count > 3);
    if (error) {
        fprintf(stderr, "%s: %s\n", words[1], strerror(error));
        return 2;
    }
    puts("ready");
    fflush(stdout);
    while (!(error = lenslink_ring_next(&ring, &frame, 60000))) {
        uint32_t done = 0, first = 0, rows = 0, sum = 1;
        bool over = false;
        while (!over && !error) {
            error = lenslink_frame_wait(&ring, &frame, done + 1, 60000, &rows);
            over = rows == frame.height || lenslink_frame_over(&frame);
            if (over && !error)
                error = lenslink_frame_wait(&ring, &frame, UINT32_MAX, 60000, &rows);
            first = first ? first : rows;
            sum = adler32(sum, frame.pixels + (size_t)done * frame.stride,
                          (size_t)(rows - done) * frame.stride);
            done = rows;
        }
        if (!error) {
            const struct lenslink_ring_slot *slot = frame.slot;
            printf("%" PRIu32 " %" PRIu64 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32
                   " %08" PRIx32 " %" PRIu32 "\n",
                   (uint32_t)slot->stream, (uint64_t)slot->sequence, slot->number,
                   (uint32_t)slot->frame_start.width, frame.height, slot->status, sum, first);
            fflush(stdout);
        }
        lenslink_frame_release(&ring, &frame);
        if (error)
            break;
    }
    printf("taken %" PRIu64 " skipped %" PRIu64 " dropped %" PRIu64 "\n",
           (uint64_t)ring.me->delivered_frames, (uint64_t)ring.me->skipped_frames,
           (uint64_t)ring.me->dropped_frames);
    lenslink_ring_close(&ring);
    return error == EPIPE ? 0 : error == EOWNERDEAD ? 1 : 2;
}
