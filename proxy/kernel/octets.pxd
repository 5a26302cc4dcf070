"""The bytes of a `bytes` object, for kernels: where they are and how many. TypeError for None."""

cdef extern from "octets.h":
    char* octets "hm_octets"(object) except NULL
    Py_ssize_t octets_size "hm_octets_size"(object) except -1
