/* Searches for proxy/kernel/buffer.pyx. */
#ifndef HIVEMESH_BUFFER_H
#define HIVEMESH_BUFFER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

extern void *memmem(const void *, size_t, const void *, size_t);

/* First byte at or after p that has to be escaped inside a JSON string of ASCII: controls, quote, backslash, above 0x7e. */
static inline const char *hm_skip_plain(const char *p, const char *end) {
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), back = _mm_set1_epi8('\\'), del = _mm_set1_epi8(0x7f);
    const __m128i space = _mm_set1_epi8(0x20);
    while (end - p >= 16) {
        __m128i c = _mm_loadu_si128((const __m128i *)p);
        /* Signed comparison: bytes from 0x80 up are below 0x20 too. */
        __m128i bad = _mm_or_si128(_mm_cmplt_epi8(c, space), _mm_cmpeq_epi8(c, del));
        bad = _mm_or_si128(bad, _mm_or_si128(_mm_cmpeq_epi8(c, quote), _mm_cmpeq_epi8(c, back)));
        int mask = _mm_movemask_epi8(bad);
        if (mask) return p + __builtin_ctz(mask);
        p += 16;
    }
#endif
    while (p < end) {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\') break;
        p++;
    }
    return p;
}

#endif
