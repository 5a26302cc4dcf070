/* The bytes of a `bytes` object. CPython's PyBytes_AS_STRING and PyBytes_GET_SIZE take whatever they are given for one:
   of None they return what happens to lie behind it in memory. These look, and raise TypeError. */
#ifndef HIVEMESH_OCTETS_H
#define HIVEMESH_OCTETS_H

#include <Python.h>

static char *hm_no_octets(PyObject *given) {
    PyErr_Format(PyExc_TypeError, "expected bytes, got %s", Py_TYPE(given)->tp_name);
    return NULL;
}

static inline char *hm_octets(PyObject *given) {
    return PyBytes_Check(given) ? PyBytes_AS_STRING(given) : hm_no_octets(given);
}

static inline Py_ssize_t hm_octets_size(PyObject *given) {
    return PyBytes_Check(given) ? PyBytes_GET_SIZE(given) : (hm_no_octets(given), -1);
}

#endif
