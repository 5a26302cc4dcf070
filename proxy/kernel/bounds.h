/* The room of a buffer beyond its live bytes, said to AddressSanitizer: who reads there reads what an earlier message
   left, and nothing would tell. Nothing at all in an ordinary build. */
#ifndef HIVEMESH_BOUNDS_H
#define HIVEMESH_BOUNDS_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HM_ADDRESS_SANITIZER
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HM_ADDRESS_SANITIZER
#endif

#if defined(HM_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#define hm_hide(at, size) ASAN_POISON_MEMORY_REGION(at, size)
#define hm_show(at, size) ASAN_UNPOISON_MEMORY_REGION(at, size)
#else
#define hm_hide(at, size) ((void)0)
#define hm_show(at, size) ((void)0)
#endif

#endif
