/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* oracle - decode and encode with code from rpcgen. */
#ifndef TESTS_ORACLE_ORACLE_H
#define TESTS_ORACLE_ORACLE_H

#ifdef __cplusplus
extern "C" {
#endif

enum oracle_answer {
    ORACLE_GOOD,    /* the bytes are a value of the type; *used of them */
    ORACLE_REFUSED, /* they are not */
    ORACLE_BROKEN,  /* they decoded, but the value did not encode */
    ORACLE_NO_TYPE
};

/* Decodes `in` as type number `type` of proto/MODULE.x and encodes the value to `out`, which has room for
 * `out_size` bytes. Sets how many bytes were used and written. */
enum oracle_answer oracle_recode(const char* module, unsigned type, const void* in, unsigned in_size,
                                 unsigned* used, void* out, unsigned out_size, unsigned* written);

#ifdef __cplusplus
}
#endif

#endif
