/* Byte classes and searches for proxy/kernel/scan.pyx. */
#ifndef HIVEMESH_SCAN_H
#define HIVEMESH_SCAN_H

#include <stdint.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* 1 token (RFC 9110 5.6.2), 2 request-target, 4 field value, 8 a host that is a name, without its escapes */
static uint8_t hm_class[256];

static void hm_init(void) {
    const char *token = "!#$%&'*+-.^_`|~";
    const char *host = "-._~!$&'()*+,;=";
    int c;
    for (c = 0; c < 256; c++) {
        uint8_t k = 0;
        int alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        const char *s;
        if (alnum) k |= 1 | 8;
        for (s = token; *s; s++) if (*s == c) k |= 1;
        for (s = host; *s; s++) if (*s == c) k |= 8;
        if (c > 0x20 && c < 0x7f && c != '#') k |= 2;
        if ((c >= 0x20 && c != 0x7f) || c == 9) k |= 4;
        hm_class[c] = k;
    }
}

/* First byte at or after p that may not stand in a field value. */
static inline const char *hm_skip_value(const char *p, const char *end) {
#if defined(__SSE2__)
    const __m128i low = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8(9), del = _mm_set1_epi8(0x7f);
    while (end - p >= 16) {
        __m128i c = _mm_loadu_si128((const __m128i *)p);
        __m128i bad = _mm_andnot_si128(_mm_cmpeq_epi8(c, tab), _mm_cmpeq_epi8(_mm_min_epu8(c, low), c));
        int mask = _mm_movemask_epi8(_mm_or_si128(bad, _mm_cmpeq_epi8(c, del)));
        if (mask) return p + __builtin_ctz(mask);
        p += 16;
    }
#endif
    while (p < end && (hm_class[(unsigned char)*p] & 4)) p++;
    return p;
}

static inline const char *hm_skip(const char *p, const char *end, int cls) {
    while (p < end && (hm_class[(unsigned char)*p] & cls)) p++;
    return p;
}

/* Case-insensitive comparison with a lower-case name; an underscore counts as a hyphen when fold is set. */
static inline int hm_is(const char *p, const char *lower, Py_ssize_t n, int fold) {
    Py_ssize_t i;
    for (i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c >= 'A' && c <= 'Z') c |= 0x20;
        if (fold && c == '_') c = '-';
        if (c != (unsigned char)lower[i]) return 0;
    }
    return 1;
}

#endif
