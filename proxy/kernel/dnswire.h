/* Arithmetic for proxy/kernel/dnswire.pyx that C says better. */
#ifndef HIVEMESH_DNSWIRE_H
#define HIVEMESH_DNSWIRE_H

#include <stdint.h>
#include <string.h>
#include <time.h>

/* Eight bytes with their ASCII capitals made small. The length of a label is at most 63, below 'A', so whole names in
   wire form may go through here. */
static inline uint64_t hm_small8(uint64_t x) {
    const uint64_t ones = 0x0101010101010101ull, low = x & (0x7f * ones);
    uint64_t from_a = low + (0x80 - 'A') * ones, past_z = low + (0x7f - 'Z') * ones;
    return x | (((from_a ^ past_z) & ~x & (0x80 * ones)) >> 2);
}

/* A name in small letters, then its type; zeros up to a multiple of 8, which is returned. `key` has room for 264. */
static inline int hm_dns_key(const unsigned char *name, int size, const unsigned char *type, unsigned char *key) {
    uint64_t word;
    int at = 0;
    for (; at + 8 <= size; at += 8) {
        memcpy(&word, name + at, 8);
        word = hm_small8(word);
        memcpy(key + at, &word, 8);
    }
    word = 0;
    memcpy(&word, name + at, (size_t)(size - at));
    word = hm_small8(word);
    memcpy(key + at, &word, 8);
    memset(key + at + 8, 0, 8);
    key[size] = type[0];
    key[size + 1] = type[1];
    return (size + 2 + 7) & ~7;
}

static inline uint64_t hm_mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Keyed, because whoever asks chooses the names. `size` is a multiple of 8. Never 0. */
static inline uint64_t hm_dns_hash(const unsigned char *key, int size, const uint64_t *seed) {
    uint64_t word, hash = seed[0];
    for (int at = 0; at < size; at += 8) {
        memcpy(&word, key + at, 8);
        hash = hm_mix(hash ^ word, seed[1]) + seed[2];
    }
    return hm_mix(hash ^ (uint64_t)size, seed[3]) | 1;
}

static inline void hm_prefetch(const void *at, int bytes) {
    for (int done = 0; done < bytes; done += 64) __builtin_prefetch((const char *)at + done);
}

/* A number below `most`, and the next state of the generator. Only the order of answers hangs on it. */
static inline uint32_t hm_draw(uint64_t *state, uint32_t most) {
    uint64_t x = *state;
    x ^= x << 13; x ^= x >> 7; x ^= x << 17;
    *state = x;
    return (uint32_t)(((x >> 32) * most) >> 32);
}

/* A word that other processes write to. */
static inline uint64_t hm_look(const uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline int64_t hm_dns_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

#endif
